"""Repeated calls to services, in other threads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from pipeline.errors import PipelineError
from pipeline.ports import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")


class Errand(Generic[T]):
    """Calls again and again, one call at a time. A failure is logged, once until a call succeeds;
    the driver goes on with what it knows."""

    def __init__(
        self, pool: Executor, clock: Clock, every_s: float, call: Callable[[], T], doing: str
    ) -> None:
        """``doing`` says what the call does, for the log."""
        self._pool = pool
        self._clock = clock
        self._every_s = every_s
        self._call = call
        self._doing = doing
        self._pending: Future[T] | None = None
        self._due_at = clock.monotonic()
        self.answer: T | None = None
        """The latest answer. None before the first one."""
        self.failed = False
        """Whether the latest call failed."""

    def look(self) -> None:
        """Take an answer that has come, and call again if it is time. Never blocks."""
        if self._pending is not None:
            if not self._pending.done():
                return
            self._take(self._pending)
            self._pending = None
        now = self._clock.monotonic()
        if now >= self._due_at:
            self._due_at = now + self._every_s
            self._pending = self._pool.submit(self._call)

    def _take(self, done: Future[T]) -> None:
        try:
            self.answer = done.result()
        except PipelineError as failure:
            if not self.failed:
                log.warning("%s failed: %s; trying again", self._doing, failure)
            self.failed = True
        else:
            self.failed = False
