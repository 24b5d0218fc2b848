"""Reads the stream's outcomes while somebody looks: one thread for all who look."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import Halt, Retry
from pipeline.ports import Clock
from workers.serve.caller import Caller
from workers.serve.live.fanout import NEWEST, Fanout, Filter, Reader
from workers.serve.live.outcome import Outcome, outcome_of
from workers.serve.live.topics import Topics

T = TypeVar("T")

log = logging.getLogger(__name__)

LINGER_S = 30.0
"""The thread goes on for so long after the last one has left, who may only have reloaded a page."""

POLL_S = 0.5
AGAIN_S = 5.0
"""Wait after a failure before the topics are opened again."""

LAG_S = 5.0
"""Seconds between two questions for the lag, each with a connection of its own."""

STOP_S = 5.0


class Watch:
    """Belongs to one event loop. ``close`` when done.

    ``trouble`` says for people why nothing is read, ``lag`` counts records that the stream has not
    committed; None: not known.
    """

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._fanout = Fanout(clock)
        self._stopping: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._of_tail: str | None = None
        self._of_lag: str | None = None
        self.lag: int | None = None

    @property
    def trouble(self) -> str | None:
        return self._of_tail or self._of_lag

    @property
    def reading(self) -> bool:
        return self._thread is not None

    @contextmanager
    def joined(self, caller: Caller, wanted: Filter) -> Iterator[Reader]:
        """A reader during the block."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._thread is None:
            self._start()
        with self._fanout.joined(caller, wanted) as reader:
            try:
                yield reader
            finally:
                if self._fanout.readers == 1:
                    self._ending = asyncio.create_task(self._end_later())

    async def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._ending is not None:
            self._ending.cancel()
        await self._stop()

    # -- the loop's side --------------------------------------------------------------------

    def _start(self) -> None:
        stopping = threading.Event()
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._read, args=(stopping, loop), name="live view", daemon=True
        )
        self._stopping = stopping
        self._thread.start()
        self._tasks = [asyncio.create_task(self._ask_lag())]

    async def _end_later(self) -> None:
        await self._clock.sleep(LINGER_S)
        self._ending = None
        await self._stop()

    async def _stop(self) -> None:
        thread, stopping, tasks = self._thread, self._stopping, self._tasks
        self._thread = self._stopping = None
        self._tasks = []
        if thread is None or stopping is None:
            return
        stopping.set()
        for task in tasks:
            task.cancel()
        self._fanout.forget()
        self._of_tail = self._of_lag = self.lag = None
        await asyncio.to_thread(thread.join, STOP_S)

    async def _ask_lag(self) -> None:
        """The consumer waits for absent brokers in silence, so this question tells of them too."""
        while True:
            try:
                self.lag = await asyncio.to_thread(self._topics.lag)
                self._of_lag = None
            except (Retry, Halt) as failed:
                self.lag, self._of_lag = None, failed.message
            except Exception:
                # The task must go on after a defect: see the thread.
                log.exception("live view: asking for the lag failed")
                self.lag = None
            await self._clock.sleep(LAG_S)

    def _take(self, stopping: threading.Event, outcomes: Sequence[Outcome]) -> None:
        if stopping is self._stopping:
            self._fanout.publish(outcomes)

    def _note(self, stopping: threading.Event, trouble: str | None) -> None:
        if stopping is self._stopping:
            self._of_tail = trouble

    # -- the thread's side ------------------------------------------------------------------

    def _read(self, stopping: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        def on_loop(call: Callable[[threading.Event, T], None], told: T) -> None:
            try:
                loop.call_soon_threadsafe(call, stopping, told)
            except RuntimeError:  # the loop has been closed: nobody looks any more
                stopping.set()

        while not stopping.is_set():
            try:
                with self._topics.tail(NEWEST) as tail:
                    on_loop(self._note, None)
                    while not stopping.is_set():
                        outcomes = [outcome_of(record) for record in tail.poll(POLL_S)]
                        if known := [outcome for outcome in outcomes if outcome is not None]:
                            on_loop(self._take, known)
            except (Retry, Halt) as failed:
                log.warning("live view: %s", failed.message, extra={"code": failed.code})
                on_loop(self._note, failed.message)
                stopping.wait(AGAIN_S)
            except Exception:
                # The thread must go on after a defect, or the page would stay empty.
                log.exception("live view: reading failed")
                stopping.wait(AGAIN_S)
