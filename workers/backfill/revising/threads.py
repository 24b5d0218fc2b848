"""Work on many files in threads, while the lease is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_threads(
    tasks: Iterator[Callable[[], T]],
    threads: int,
    stopping: threading.Event,
    beat: Callable[[], object],
) -> Iterator[T]:
    """The results of the tasks, ``threads`` of which run at a time, until ``stopping``. ``beat`` is
    called each second or more often. What was begun is finished, also when a task raises."""
    running: set[Future[T]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="revising") as pool:

        def begin() -> None:
            if not stopping.is_set():
                running.update(map(pool.submit, islice(tasks, threads - len(running))))

        begin()
        while running:
            done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            beat()
            for each in done:
                running.discard(each)
                yield each.result()
            begin()
