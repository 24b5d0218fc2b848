"""CPU time of this process, whole and by thread. Linux."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

TASKS = Path("/proc/self/task")
ENDED = "threads that have ended"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """What a number of images took; ``commits`` is how many transactions they went in.

    ``threads`` has CPU seconds by the name of the thread, those of one name together.
    """

    images: int
    commits: int
    wall_s: float
    cpu_s: float
    threads: dict[str, float]
    beside_cpu_s: float = 0.0
    """Of the processes beside it that were to be looked at."""

    @property
    def us_per_image(self) -> float:
        return 1e6 * self.cpu_s / self.images

    @property
    def rate(self) -> float:
        """Images a second of wall time, on a machine that is shared."""
        return self.images / self.wall_s

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Self:
        return cls(**json.loads(file.read_text()))


class Spending:
    """Counts from its making on; threads that began later count in full."""

    def __init__(self, images: int, commits: int, beside: Sequence[int] = ()) -> None:
        """``beside`` are ids of further processes."""
        self._images, self._commits = images, commits
        self._beside, self._beside_cpu = beside, sum(map(_of_process, beside))
        self._wall, self._cpu, self._threads = time.monotonic(), time.process_time(), _threads()

    def until(self, images: int, commits: int) -> Spent:
        """What was spent until now, when ``images`` were done, with so many commits."""
        wall, cpu, threads = time.monotonic(), time.process_time(), _threads()
        threads.subtract(self._threads)
        cpu_s = cpu - self._cpu
        alive = {name: seconds for name, seconds in threads.items() if seconds > 0}
        return Spent(
            images - self._images,
            commits - self._commits,
            wall - self._wall,
            cpu_s,
            alive | {ENDED: max(0.0, cpu_s - sum(alive.values()))},
            sum(map(_of_process, self._beside)) - self._beside_cpu,
        )


def _of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _threads() -> Counter[str]:
    """CPU seconds of the threads that live, by name."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    spent: Counter[str] = Counter()
    for task in TASKS.iterdir():
        # The first number of schedstat: nanoseconds on a processor, in user and kernel mode.
        ns = int((task / "schedstat").read_text().split()[0])
        own = (task / "comm").read_text().strip()
        name = names.get(int(task.name), own)
        spent[_kind(name)] += ns / 1e9  # type: ignore[assignment]  # a Counter of seconds
    return spent


def _kind(name: str) -> str:
    """A thread's name without the number that tells it from others of its pool."""
    return name.rstrip("0123456789").rstrip("-_") or name
