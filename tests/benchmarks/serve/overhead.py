"""What a request costs outside decode and encode: CPU time of all processes of its path.

Decoder and model cost nothing. What the same processes take while nobody asks is measured first,
and left out: Ray's own processes are never quite idle.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.serve.load import Load, send
from tests.benchmarks.serve.server import Server, ours

BODY_BYTES = 75_000
CONCURRENCY = 32
GOAL_MS = {"raw": 1.0, "base64": 1.5}
"""With HAProxy."""
ROUNDS = 3
WARM_S = 2.0
SECONDS = 8.0
SEED = 3
PROXIES = ("haproxy", "python")
COSTLIEST = 4
JPEG = b"\xff\xd8\xff\xe0"
"""How each JPEG begins. The rest is as hard to compress as a JPEG's."""


def measure(folder: Path, seconds: float | None, tell: Callable[[str], None]) -> list[Figure]:
    """Two minutes, with the default number of seconds."""
    seconds = seconds or SECONDS
    figures: list[Figure] = []
    for proxy in PROXIES:
        spent: dict[str, list[float]] = {form: [] for form in GOAL_MS}
        rates: dict[str, list[float]] = {form: [] for form in GOAL_MS}
        with ours(folder, serve={"proxy": proxy}, load="nothing") as server:
            loads = _loads(server.port, folder, seconds)
            idle = _idle(server, seconds)
            tell(f"{proxy}: idle {_told(idle, 1 / seconds)} ms/s")
            for _ in range(ROUNDS):
                for form, load in loads.items():
                    cpu_ms, rate = _one(server, load, folder, idle, tell, f"{proxy}, {form}")
                    spent[form].append(cpu_ms)
                    rates[form].append(rate)
        for form, goal in GOAL_MS.items():
            name = f"serve.overhead.{proxy}.{form}"
            wanted = goal if proxy == "haproxy" else None
            figures += [
                Figure.median(name, spent[form], "ms CPU/request", wanted, at_least=False),
                Figure.median(f"{name}.rate", rates[form], "requests/s"),
            ]
    return figures


def _loads(port: int, folder: Path, seconds: float) -> dict[str, Load]:
    body = JPEG + random.Random(SEED).randbytes(BODY_BYTES - len(JPEG))
    raw, as_json = folder / "body.jpg", folder / "body.json"
    raw.write_bytes(body)
    as_json.write_text(json.dumps({"image": base64.b64encode(body).decode()}))
    return {
        form: Load(
            port, "/v1/classify", kind, (str(file),), seconds, WARM_S, concurrency=CONCURRENCY
        )
        for form, kind, file in (
            ("raw", "image/jpeg", raw),
            ("base64", "application/json", as_json),
        )
    }


def _idle(server: Server, seconds: float) -> Counter[str]:
    before = server.family.cpu_s()
    time.sleep(seconds)
    spent = server.family.cpu_s()
    spent.subtract(before)
    return spent


def _one(
    server: Server,
    load: Load,
    folder: Path,
    idle: Counter[str],
    tell: Callable[[str], None],
    what: str,
) -> tuple[float, float]:
    """Milliseconds of CPU a request, and requests a second. The whole load counts, warm or not."""
    before, begun = server.family.cpu_s(), time.monotonic()
    answers = send(load, folder)
    wall_s = time.monotonic() - begun
    spent = server.family.cpu_s()
    spent.subtract(before)
    if set(answers.statuses) != {200}:
        raise RuntimeError(f"{what}: answered with the statuses {answers.statuses}")
    share = wall_s / load.seconds
    net: Counter[str] = Counter()
    for name, seconds in spent.items():
        net[name] = max(0.0, seconds - share * idle[name])  # type: ignore[assignment]  # seconds
    cpu_ms = 1000 * sum(net.values()) / answers.asked
    tell(f"{what}: {answers.rate:.0f} requests/s, {_told(net, 1 / answers.asked)} ms/request")
    return cpu_ms, answers.rate


def _told(spent: Counter[str], per: float) -> str:
    parts = (f"{name} {1000 * per * seconds:.2f}" for name, seconds in spent.most_common(COSTLIEST))
    return f"{1000 * per * sum(spent.values()):.2f} ({', '.join(parts)})"
