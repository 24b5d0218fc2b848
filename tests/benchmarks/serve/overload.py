"""Three times more than the server can do, for a minute: what those get who are let in, what the
rest are told, and what is left of it afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import full_size
from tests.benchmarks.figures import Figure
from tests.benchmarks.serve.load import Load, Sending, send
from tests.benchmarks.serve.server import Server, ours
from tests.rigs.stages.decoding import photos

CONCURRENCY = 64
WARM_S = 5.0
CAPACITY_S = 15.0
LEAST_S = 5.0
"""Less shows no capacity: batches take most of a second on two cores."""
EASY = 0.8
EASY_S = 25.0
OVERLOAD = 3.0
SECONDS = 60.0
RECOVERY_S = 2.0
AFTER_S = 15.0
MOST = 4000
"""Requests in flight at which the sender gives up."""
LOOK_S = 2.0
SETTLED = 1 / 6
"""Share of the overload after which memory should stay as it is."""
P99_GOAL = 2.0
REFUSED_GOAL_S = 0.05
FLAT_GOAL = 1.05
RECOVERED_GOAL = 0.95
OK, REFUSED = 200, 429


def measure(folder: Path, seconds: float | None, tell: Callable[[str], None]) -> list[Figure]:
    """Three minutes, with the default number of seconds. ``seconds`` are those of the overload."""
    part = (seconds or SECONDS) / SECONDS
    bodies = []
    for number, body in enumerate(photos()):
        file = folder / f"{number:04}.jpg"
        file.write_bytes(body)
        bodies.append(str(file))
    model = {"model": {"directory": str(full_size.checkpoint()), "device": "cpu"}}
    with ours(folder, model) as server:
        closed = Load(
            server.port,
            "/v1/classify",
            "image/jpeg",
            bodies,
            max(LEAST_S, CAPACITY_S * part),
            WARM_S,
            concurrency=CONCURRENCY,
        )
        before = send(closed, folder).of(OK)
        tell(f"capacity: {before.rate:.1f} images/s")
        if not before.answers:
            raise RuntimeError("nothing was answered while the capacity was measured")
        easy_load = replace(
            closed, rate=EASY * before.rate, seconds=EASY_S * part, concurrency=MOST
        )
        easy = send(easy_load, folder)
        tell(f"at {EASY:.0%}: {easy.statuses}, p99 {easy.of(OK).took_s(0.99):.3f} s")
        over_load = replace(
            easy_load, rate=OVERLOAD * before.rate, seconds=SECONDS * part, warm_s=0.0
        )
        with _Memory(server) as memory:
            over = Sending(over_load, folder).answers()
        accepted, refused = over.of(OK), over.of(REFUSED)
        tell(f"at {OVERLOAD:.0%}: {over.statuses}, {accepted.rate:.1f} images/s")
        tell(
            f"accepted p99 {accepted.took_s(0.99):.3f} s, refused p99 {refused.took_s(0.99):.3f} s"
        )
        after_load = replace(closed, seconds=AFTER_S * part + RECOVERY_S, warm_s=0.0)
        after = send(after_load, folder).of(OK)
        recovered = after.between(RECOVERY_S, after_load.seconds)
        tell(f"afterwards: {recovered:.1f} images/s from {RECOVERY_S:g} s on")
    unexpected = len(over.answers) - len(accepted.answers) - len(refused.answers)
    slower = accepted.took_s(0.99) / easy.of(OK).took_s(0.99)
    return [
        Figure("serve.overload.capacity", before.rate, "images/s"),
        Figure("serve.overload.accepted", accepted.rate, "images/s"),
        Figure("serve.overload.p99_over_p99_at_80%", slower, "times", P99_GOAL, at_least=False),
        Figure(
            "serve.overload.refused_p99", refused.took_s(0.99), "s", REFUSED_GOAL_S, at_least=False
        ),
        Figure("serve.overload.neither", unexpected, "requests", 0.0, at_least=False),
        Figure("serve.overload.memory", memory.growth, "times", FLAT_GOAL, at_least=False),
        Figure("serve.overload.recovered", recovered / before.rate, "of capacity", RECOVERED_GOAL),
    ]


class _Memory:
    """Looks at a server's memory again and again, in a thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._seen: list[int] = []

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth(self) -> float:
        """The most of the last part, over what it was once the load had settled."""
        settled = self._seen[int(len(self._seen) * SETTLED)]
        return max(self._seen[len(self._seen) // 2 :]) / settled

    def _look(self) -> None:
        while True:
            self._seen.append(self._server.family.memory_bytes())
            if self._ended.wait(LOOK_S):
                return
