"""An asyncio event loop in a thread of its own. The owner can see whether it still runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0


class EventLoopThread:
    """Runs coroutines next to a blocking thread. ``close`` cancels remaining tasks and joins."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = threading.Event()
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            raise RuntimeError(f"event loop {name}: did not start in {START_TIMEOUT_S:g} s")

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @contextmanager
    def holding(
        self, manager: AbstractAsyncContextManager[T], start_s: float, close_s: float
    ) -> Iterator[T]:
        """Enter a context on the loop from another thread, and leave it at the end of the block. A
        loop that has ended by then leaves nothing.

        Raises:
            TimeoutError: entering took longer than ``start_s``, or leaving longer than ``close_s``.
                What goes on is cancelled by ``close``.
        """
        entered = self.submit(manager.__aenter__()).result(start_s)
        try:
            yield entered
        finally:
            if self.alive:
                self.submit(manager.__aexit__(None, None, None)).result(close_s)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call a plain function on the loop, from another thread."""
        self._loop.call_soon_threadsafe(callback, *args)

    def close(self) -> None:
        """Cancel every task, wait for their end, stop the loop and join. Idempotent."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            try:
                self.submit(_cancel_all()).result(STOP_TIMEOUT_S)
            except TimeoutError:
                log.warning(
                    "event loop %s: tasks go on %g s after their cancellation; abandoned",
                    self._thread.name,
                    STOP_TIMEOUT_S,
                )
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
