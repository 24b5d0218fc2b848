"""What a live stream notices of a backfill on the same machines.

**On devices of its own**: the stream's latency alone, and while a backfill runs.

**On shared devices**: the stream has no worker, because the backfill holds both places. The lag
rises until the backfill gives a place back; the stream's worker takes it.

Kafka, the S3 server, the stream's worker and the backfill on Ray are real. Encoders take a fixed
time for a batch, as a device does; objects and decoders cost nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from tests.benchmarks import priority
from tests.benchmarks.figures import Figure
from tests.benchmarks.priority import BATCH, BATCH_S, Bench
from tests.rigs.backfill.null_job import NullJob
from tests.rigs.waiting import eventually

SECONDS = 20.0
"""Of each measurement."""
WARM_S = 2.0
SHARD_ROWS = 1_500
ROWS = 1_000_000
"""More than are done meanwhile."""
LAG = 200
READY_S = 120.0
GIVES_BACK_S = 300.0
SETTLE_S = 3.0
"""Until the last outcomes are visible."""

BACKFILL = {"shard_rows": SHARD_ROWS}
BATCHES = {"max_size": BATCH}


def measure(tell: Callable[[str], None], seconds: float = SECONDS) -> list[Figure]:
    with priority.broker() as bootstrap:
        alone, beside = on_own_devices(bootstrap, seconds)
        tell(f"p99 alone {1e3 * alone:.0f} ms, beside a backfill {1e3 * beside:.0f} ms")
        gave_back_s, shard_s, shared = on_shared_devices(bootstrap, seconds)
        tell(f"a place came back after {gave_back_s:.1f} s; p99 then {1e3 * shared:.0f} ms")
    batch_ms = 1e3 * BATCH_S
    return [
        Figure("backfill.beside.alone.p99", 1e3 * alone, "ms"),
        Figure("backfill.beside.own.later", 1e3 * (beside - alone), "ms", batch_ms, at_least=False),
        Figure("backfill.beside.gave_back", gave_back_s, "s", shard_s, at_least=False),
        Figure(
            "backfill.beside.shared.later", 1e3 * (shared - alone), "ms", batch_ms, at_least=False
        ),
    ]


def on_own_devices(bootstrap: str, seconds: float) -> tuple[float, float]:
    """The 99th percentiles of the stream's latency alone and beside, in seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-beside-") as name,
        VersityS3(Path(name) / "s3") as s3,
        NullJob(Path(name), s3, ROWS, {"backfill": BACKFILL, "batch": BATCHES}, BATCH_S) as job,
        Bench(bootstrap) as bench,
    ):
        bench.send_live(WARM_S, 0)
        alone = p99_of(bench, seconds, 1)
        job.driver.start()
        eventually(lambda: job.committed > 0, READY_S)
        before = job.committed
        beside = p99_of(bench, seconds, 2)
        if job.committed == before:
            raise SystemExit("the backfill stood still")
    return alone, beside


def on_shared_devices(bootstrap: str, seconds: float) -> tuple[float, float, float]:
    """After how many seconds of too high a lag a place was free, how long a shard takes, and the
    99th percentile of the stream's latency from then on, in seconds."""
    bench = Bench(bootstrap)
    changed = {
        "workers": {"count": 2, "gpus_per_worker": 0, "cpus_per_worker": 0.5},
        "batch": BATCHES,
        "backfill": BACKFILL | {"yield_above_lag": LAG},
        "kafka": {
            "bootstrap_servers": [bootstrap],
            "group": bench.kafka.group,
            "input_topics": [bench.live],
        },
    }
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-beside-") as name,
        VersityS3(Path(name) / "s3") as s3,
        NullJob(Path(name), s3, ROWS, changed, BATCH_S) as job,
    ):
        job.driver.start()
        eventually(lambda: job.committed >= 4, READY_S)
        shard_s = job.shard_seconds()
        with ReferenceProducer(bench.kafka, bench.live) as producer:
            for _ in range(LAG + 1):
                producer.send(None, priority.reference())
        began = time.monotonic()
        eventually(lambda: not (job.alive(0) and job.alive(1)), GIVES_BACK_S)
        gave_back_s = time.monotonic() - began
        with bench:
            eventually(lambda: len(bench.seen(bench.live, 0, time.time())) > LAG, READY_S)
            bench.send_live(WARM_S, 3)
            shared = p99_of(bench, seconds, 4)
    return gave_back_s, shard_s, shared


def p99_of(bench: Bench, seconds: float, seed: int) -> float:
    """The 99th percentile of the latency of live traffic, in seconds."""
    began = time.time()
    bench.send_live(seconds, seed)
    ended = time.time()
    time.sleep(SETTLE_S)
    return statistics.quantiles(bench.seen(bench.live, began, ended), n=100)[98]
