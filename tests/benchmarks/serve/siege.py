"""Ten thousand connections that are slow, half-open, oversized or lie, from a process of its own:
what memory they take, and whether others are served meanwhile.

They have a key, as somebody has who found one; the others have another. Without a key they would be
refused before anything of them is read.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.serve import hostile
from tests.benchmarks.serve.load import Load, Sending, send
from tests.benchmarks.serve.server import Server, ours
from tests.rigs.stages.decoding import as_file, clouds
from workers.cluster.serving.environment import FILES_BESIDE as FILES_BESIDE_HAPROXY
from workers.cluster.serving.environment import FILES_OF_A_CONNECTION, most_connections
from workers.embedded.processes import command_environment
from workers.serve.admission.key_file import HEADER, KeyEntry, new_key

CONNECTIONS = 10_000
SECONDS = 60.0
HONEST = 4
"""Requests in flight of those who mean well."""
ALONE_S = 8.0
LOOKS = 12
MEMORY_MIB = 256
"""Of ``serve.max_memory_mib``: the byte budget."""
OF_A_CONNECTION = 32 * 1024
FILES_BESIDE = 1000
"""Descriptors that a process needs beside its connections."""
SERVED_GOAL = 0.99
MIB = 1024 * 1024


def measure(folder: Path, seconds: float | None, tell: Callable[[str], None]) -> list[Figure]:
    """Two minutes, with the default number of seconds."""
    seconds = seconds or SECONDS
    number = _connections(tell)
    image = folder / "honest.jpg"
    image.write_bytes(as_file(clouds(1, 640, 480), "JPEG"))
    keys = folder / "keys"
    honest_key, found_key = _keys(keys)
    serve = {"proxy": "haproxy", "max_memory_mib": MEMORY_MIB, "keys": str(keys)}
    with ours(folder, serve=serve, load="no_model") as server:
        load = Load(
            server.port, "/v1/classify", "image/jpeg", (str(image),), ALONE_S, 2.0,
            concurrency=HONEST, headers={"authorization": f"Bearer {honest_key}"},
        )  # fmt: skip
        alone = send(load, folder)
        before = server.family.memory_bytes()
        tell(f"alone: {alone.rate:.0f} requests/s, {alone.statuses}; {before / MIB:.0f} MiB")
        with _attack(server, number, seconds, found_key, tell) as opened:
            opened()
            honest = Sending(replace(load, seconds=seconds / 2, warm_s=0.0), folder)
            most = max(_memory(server, seconds / 2))
            answers = honest.answers()
        after = server.family.memory_bytes()
        tell(f"beside them: {answers.rate:.0f} requests/s, {answers.statuses}")
        tell(f"{before / MIB:.0f} MiB before, at most {most / MIB:.0f}, then {after / MIB:.0f}")
        again = send(load, folder)
    served = len(answers.of(200).answers) / max(1, len(answers.answers))
    allowed = MEMORY_MIB * MIB + number * OF_A_CONNECTION
    return [
        Figure("serve.siege.connections", number, "connections", CONNECTIONS),
        Figure("serve.siege.memory", (most - before) / MIB, "MiB", allowed / MIB, at_least=False),
        Figure("serve.siege.memory_afterwards", (after - before) / MIB, "MiB"),
        Figure("serve.siege.served", served, "of the honest", SERVED_GOAL),
        Figure("serve.siege.honest_p99", answers.of(200).took_s(0.99), "s"),
        Figure("serve.siege.rate", answers.of(200).rate / alone.rate, "of alone"),
        Figure("serve.siege.rate_afterwards", again.of(200).rate / alone.rate, "of alone"),
    ]


def _keys(file: Path) -> tuple[str, str]:
    """Writes a file with two keys, and returns them."""
    (honest, *of_honest), (found, *of_found) = new_key(), new_key()
    entries = (
        KeyEntry(id=key_id, name=name, sha256=sha256)
        for name, (key_id, sha256) in (("honest", of_honest), ("found", of_found))
    )
    file.touch(0o600)
    file.write_text(HEADER + "".join(entry.line() for entry in entries))
    return honest, found


def _connections(tell: Callable[[str], None]) -> int:
    """As many as this machine lets a process have. Tells if HAProxy takes fewer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken, wanted = most_connections(), CONNECTIONS + HONEST
    if taken < wanted:
        files = math.ceil(wanted * FILES_OF_A_CONNECTION) + FILES_BESIDE_HAPROXY
        tell(
            f"ulimit -Hn is {most}: HAProxy takes {taken} of {wanted} connections at a time, and "
            f"the others wait; for a sound result raise ulimit -Hn to {files}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < CONNECTIONS + FILES_BESIDE:
        tell(f"a process may open {most} files here: raise ulimit -n")
        return int(most - FILES_BESIDE)
    return CONNECTIONS


@contextmanager
def _attack(
    server: Server, number: int, seconds: float, key: str, tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Yields what waits until all are open. Tells at the end what became of them."""
    spec = [str(server.port), str(number), str(seconds), key]
    command = [sys.executable, "-m", hostile.__name__, *spec]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=command_environment()
    )
    assert process.stdout is not None

    def opened() -> None:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        tell(f"{found['open']} connections are open after {found['took_s']} s")

    try:
        yield opened
        found = json.loads(process.stdout.readline())
        for kind, times in found["opened"].items():
            tell(f"{kind}: opened {times} times, answered {found['answers'][kind]}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _memory(server: Server, seconds: float) -> Iterator[int]:
    for _ in range(LOOKS):
        yield server.family.memory_bytes()
        time.sleep(seconds / LOOKS)
