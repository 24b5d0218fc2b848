"""`make backfill-soak`: a backfill of millions of rows on Ray whose images cost nothing. The memory
of its driver and of its worker is watched.

All but objects, decoder and model is the product: ``tests.rigs.backfill.null_job``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.dev.versitygw import VersityS3
from pipeline.backfill.running.ending import Success
from tests.benchmarks.cpu_time import TICKS
from tests.fault.backfill.soak_plot import draw
from tests.rigs.backfill.null_job import NullJob
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS

RESULT = RESULTS / "backfill-soak.json"

SHARD_ROWS = 10_000
SAMPLE_S = 2.0
DEADLINE_S = 600.0
"""Without any progress."""
MOST_DRIVER_MIB = 500.0
MOST_GROWTH = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """The job at a moment. ``driver_mib`` is all memory of the driver's process, pages shared with
    others included; ``worker_mib`` is what the worker has for itself."""

    at_s: float
    committed: int
    driver_mib: float
    worker_mib: float


@dataclass(frozen=True)
class Result:
    """What a soak showed. ``planning_s`` passed before the first worker was there. ``growth`` is of
    the median of the last tenth of the rows against that of the second tenth."""

    rows: int
    classified: int
    in_files: int
    shards: int
    planning_s: float
    seconds: float
    rows_per_second: float
    worker_cpu_us_per_row: float
    driver_mib: float
    worker_mib: float
    growth: float
    samples: list[Sample]

    def faults(self) -> list[str]:
        """What speaks against it."""
        found = [
            f"{getattr(self, name)} rows {told}, of {self.rows}"
            for name, told in (("classified", "classified"), ("in_files", "in the data files"))
            if getattr(self, name) != self.rows
        ]
        if self.driver_mib > MOST_DRIVER_MIB:
            found.append(f"driver of {self.driver_mib} MiB, more than {MOST_DRIVER_MIB:g}")
        if self.growth > MOST_GROWTH:
            found.append(f"worker's growth of {self.growth:.1%}, more than {MOST_GROWTH:.0%}")
        return found


class Soak:
    """What was seen of a job."""

    def __init__(self, job: NullJob) -> None:
        self._job = job
        self.samples: list[Sample] = []
        self.planning_s = 0.0
        self.worker_cpu_s = 0.0

    def watch(self, tell: Callable[[int], None]) -> None:
        """Sample until all rows are committed."""
        job, driver = self._job, self._job.driver
        began = progressed = time.monotonic()
        committed = 0
        while committed < job.rows:
            now, before = time.monotonic(), committed
            committed = min(job.committed * SHARD_ROWS, job.rows)
            worker = job.worker(0)
            if worker is None:
                self.planning_s = round(now - began, 1)
            else:
                self.worker_cpu_s = cpu_s(worker) or self.worker_cpu_s
            self.samples.append(
                Sample(
                    round(now - began, 1),
                    committed,
                    memory_mib(driver.pid, "Rss:"),
                    0.0 if worker is None else memory_mib(worker, "Private_"),
                )
            )
            tell(committed)
            if committed > before:
                progressed = now
            if now - progressed > DEADLINE_S:
                raise TimeoutError(f"no progress\n{driver.log_tail()}")
            time.sleep(max(0.0, SAMPLE_S - (time.monotonic() - now)))


def memory_mib(pid: int, field: str) -> float:
    """The sum of what the kernel says in fields that begin so; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    found = (line.split() for line in lines if line.startswith(field))
    return round(sum(int(kib) for name, kib, _ in found if "Hugetlb" not in name) / 1024, 1)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(folder: Path, rows: int, tell: Callable[[int], None] = lambda committed: None) -> Result:
    backfill = {"shard_rows": SHARD_ROWS}
    with (
        VersityS3(folder / "s3") as s3,
        NullJob(folder, s3, rows, {"backfill": backfill}) as job,
    ):
        job.driver.start()
        soak = Soak(job)
        soak.watch(tell)
        success = job.success(DEADLINE_S)
    return result(rows, success, soak.planning_s, soak.worker_cpu_s, soak.samples)


def result(
    rows: int, success: Success, planning_s: float, worker_cpu_s: float, samples: list[Sample]
) -> Result:
    working = [each for each in samples if each.worker_mib]
    early = [each for each in working if 0.1 * rows <= each.committed < 0.2 * rows] or working
    late = [each for each in working if each.committed >= 0.9 * rows]
    base = statistics.median(each.worker_mib for each in early)
    seconds = samples[-1].at_s - planning_s
    return Result(
        rows=rows,
        classified=success.summary.classified,
        in_files=sum(each.rows for each in success.files),
        shards=success.shards,
        planning_s=planning_s,
        seconds=round(seconds),
        rows_per_second=round(rows / seconds),
        worker_cpu_us_per_row=round(1e6 * worker_cpu_s / rows),
        driver_mib=max(each.driver_mib for each in samples),
        worker_mib=round(base, 1),
        growth=round(statistics.median(each.worker_mib for each in late) / base - 1, 4),
        samples=samples,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="soak")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--output", type=Path, default=RESULT, help="the plot is put beside it")
    arguments = parser.parse_args()
    told = 0

    def tell(committed: int) -> None:
        nonlocal told
        if committed >= told + arguments.rows // 100:
            told = committed
            print(f"{committed:,} of {arguments.rows:,} rows committed", flush=True)

    with tempfile.TemporaryDirectory(prefix="clipstream-soak-") as folder:
        found = run(Path(folder), arguments.rows, tell)
    figures = asdict(found) | {"commit": commit()}
    arguments.output.write_text(_json(figures))
    draw(found.samples, arguments.output.with_suffix(".png"))
    figures.pop("samples")
    print(json.dumps(figures, indent=2))
    faults = found.faults()
    for fault in faults:
        print(f"not as promised: {fault}")
    return 1 if faults else 0


def _json(figures: dict[str, Any]) -> str:
    """The figures, and a line for each sample."""
    samples = figures["samples"]
    others = {name: value for name, value in figures.items() if name != "samples"}
    head = json.dumps(others, indent=2).removesuffix("\n}")
    lines = ",\n".join("    " + json.dumps(list(each.values())) for each in samples)
    names = json.dumps(list(Sample.__dataclass_fields__))
    return f'{head},\n  "sample_fields": {names},\n  "samples": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
