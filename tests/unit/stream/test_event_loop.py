"""The event loop beside a blocking thread: it works, it is ended, and its death is seen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.rigs.waiting import eventually
from workers import event_loop
from workers.event_loop import EventLoopThread

WAIT_S = 20.0
SHORT_S = 0.05
"""A time limit that a test lets pass."""


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    thread = EventLoopThread("test-loop")
    yield thread
    thread.close()


def test_coroutines_run_on_a_thread_of_the_loops_own(loop: EventLoopThread) -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert loop.submit(where()).result(WAIT_S) == "test-loop"


def test_an_error_of_a_coroutine_reaches_whoever_waits_and_the_loop_goes_on(
    loop: EventLoopThread,
) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        loop.submit(fail()).result(WAIT_S)
    assert loop.alive
    assert loop.submit(asyncio.sleep(0, "again")).result(WAIT_S) == "again"


def test_plain_functions_run_on_the_loop_in_their_order(loop: EventLoopThread) -> None:
    done: list[int] = []
    for number in range(10):
        loop.call_soon(done.append, number)
    eventually(lambda: len(done) == 10)
    assert done == list(range(10))


def test_close_cancels_what_runs_lets_it_clean_up_and_ends_the_thread() -> None:
    loop = EventLoopThread("test-loop")
    cleaned: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    future = loop.submit(forever())
    loop.submit(asyncio.sleep(0)).result(WAIT_S)  # by now it waits
    loop.close()
    assert cleaned == ["up"]
    assert future.cancelled()
    assert not loop.alive


def test_close_may_be_called_twice() -> None:
    loop = EventLoopThread("test-loop")
    loop.close()
    loop.close()
    assert not loop.alive


def test_a_task_that_ignores_its_cancellation_does_not_keep_the_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_loop, "STOP_TIMEOUT_S", 0.2)
    loop = EventLoopThread("test-loop")
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    loop.submit(stubborn())
    loop.submit(asyncio.sleep(0)).result(WAIT_S)
    loop.close()
    eventually(lambda: not loop.alive)
    loop.close()  # the thread may have ended after the time that the first call gave it
    assert "event loop test-loop: tasks go on" in caplog.text


def test_the_death_of_the_loop_is_seen_and_close_still_works() -> None:
    loop = EventLoopThread("test-loop")
    loop.call_soon(lambda: asyncio.get_running_loop().stop())
    eventually(lambda: not loop.alive)
    loop.close()


class Held:
    """A context that can be made to hang, and notes on which thread it was entered and left."""

    def __init__(self, *, hangs_entering: bool = False, hangs_leaving: bool = False) -> None:
        self._hangs_entering = hangs_entering
        self._hangs_leaving = hangs_leaving
        self.notes: list[str] = []

    @asynccontextmanager
    async def manager(self) -> AsyncIterator[str]:
        try:
            if self._hangs_entering:
                await asyncio.Event().wait()
            self.notes.append(f"entered on {threading.current_thread().name}")
            yield "content"
            if self._hangs_leaving:
                await asyncio.Event().wait()
        finally:
            self.notes.append(f"left on {threading.current_thread().name}")


def test_a_context_is_entered_and_left_on_the_loop(loop: EventLoopThread) -> None:
    held = Held()
    with loop.holding(held.manager(), WAIT_S, WAIT_S) as content:
        assert content == "content"
        assert held.notes == ["entered on test-loop"]
    assert held.notes == ["entered on test-loop", "left on test-loop"]


def test_an_error_of_the_block_leaves_the_context_and_reaches_the_caller(
    loop: EventLoopThread,
) -> None:
    held = Held()
    with (
        pytest.raises(ValueError, match="of the block"),
        loop.holding(held.manager(), WAIT_S, WAIT_S),
    ):
        raise ValueError("of the block")
    assert held.notes == ["entered on test-loop", "left on test-loop"]


def test_a_context_that_is_not_entered_in_time_is_an_error_and_ends_with_the_loop() -> None:
    loop = EventLoopThread("test-loop")
    held = Held(hangs_entering=True)
    with pytest.raises(TimeoutError), loop.holding(held.manager(), SHORT_S, WAIT_S):
        pytest.fail("the block began")
    loop.close()
    assert held.notes == ["left on test-loop"]


def test_a_context_that_is_not_left_in_time_is_an_error_and_ends_with_the_loop() -> None:
    loop = EventLoopThread("test-loop")
    held = Held(hangs_leaving=True)
    with pytest.raises(TimeoutError), loop.holding(held.manager(), WAIT_S, SHORT_S):
        pass
    assert held.notes == ["entered on test-loop"]
    loop.close()
    assert held.notes == ["entered on test-loop", "left on test-loop"]


def test_a_context_on_a_loop_that_has_died_is_not_waited_for() -> None:
    loop = EventLoopThread("test-loop")
    held = Held()
    manager = held.manager()
    with loop.holding(manager, WAIT_S, SHORT_S):
        loop.call_soon(lambda: asyncio.get_running_loop().stop())
        eventually(lambda: not loop.alive)
    assert held.notes == ["entered on test-loop"]
    loop.close()
