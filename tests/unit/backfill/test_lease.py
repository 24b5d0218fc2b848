"""One driver runs a job: who takes the lease, who waits for it, and when a driver must end."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.control import LEASE_S, RENEW_S, Lease
from pipeline.errors import Halt, Retry
from workers.commands.backfill.lease import LAST_S, RETRY_S, HeldLease, take_lease

NO_METADATA: Mapping[str, str] = {}


class Now(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Never(Executor):
    """A store that does not answer."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        return done


class Store(MemoryFolder):
    """Fails or loses the answers to the next renewals."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.lost = 0
        self.undecided = 0

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = NO_METADATA
    ) -> str | None:
        if self.down:
            raise Retry("output.failed", "503")
        if self.undecided:
            self.undecided -= 1
            return None
        written = super().replace(name, body, etag, metadata)
        if self.lost:
            self.lost -= 1
            return None
        return written


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store() -> Store:
    return Store()


def taken(store: Store, clock: HandClock, executor: Executor | None = None) -> HeldLease:
    """The lease of a driver that does not wait."""
    held = take_lease(store, clock, no_wait, executor=executor or Now())
    assert held is not None
    return held


def no_wait(_: float) -> bool:
    raise AssertionError("nothing is to be waited for")


def expiring(
    clock: HandClock, meanwhile: Callable[[], object] = lambda: None
) -> Callable[[float], bool]:
    def wait(seconds: float) -> bool:
        clock.now += seconds
        meanwhile()
        return False

    return wait


def lease_in(store: MemoryFolder) -> Lease:
    found = store.read(layout.LEASE)
    assert found is not None
    return Lease.of_bytes(found.body, layout.LEASE)


def test_a_lease_is_renewed_when_it_is_due(store: Store, clock: HandClock) -> None:
    held = taken(store, clock)
    first = store.read(layout.LEASE)
    clock.now += RENEW_S - 1
    held.renew_when_due()
    assert store.read(layout.LEASE) == first
    clock.now += 1
    held.renew_when_due()
    assert lease_in(store).renewals == 1
    assert store.read(layout.LEASE) != first


def test_a_second_driver_finds_the_first_and_ends(store: Store, clock: HandClock) -> None:
    first = taken(store, clock)
    with pytest.raises(Halt, match="stop it, or let it finish") as raised:
        take_lease(store, clock, expiring(clock, first.renew_when_due))
    assert raised.value.code == "backfill.second_driver"
    clock.now += RENEW_S
    first.renew_when_due()


def test_a_lease_that_nobody_renews_is_taken_over(store: Store, clock: HandClock) -> None:
    first = taken(store, clock)
    before = lease_in(store).driver
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return False

    second = take_lease(store, clock, wait, executor=Now())
    assert second is not None
    assert waited == [LEASE_S]
    assert lease_in(store).driver != before
    clock.now += RENEW_S
    with pytest.raises(Halt) as raised:
        first.renew_when_due()
    assert raised.value.code == "backfill.lease_lost"
    second.renew_when_due()


def test_of_two_drivers_that_waited_one_takes_the_lease(store: Store, clock: HandClock) -> None:
    taken(store, clock)
    others: list[HeldLease | None] = []

    def meanwhile() -> None:
        if not others:
            others.append(None)
            others[0] = take_lease(store, clock, lambda _: False, executor=Now())

    with pytest.raises(Halt):
        take_lease(store, clock, expiring(clock, meanwhile))
    assert others[0] is not None
    others[0].renew_when_due()


def test_clocks_that_differ_by_hours_change_nothing(store: Store) -> None:
    here, there = HandClock(1_000.0), HandClock(1_000_000.0)
    held = taken(store, here)

    def renewed() -> None:
        here.now += LEASE_S
        for _ in range(2):
            held._renewed_at = here.now - RENEW_S
            held.renew_when_due()

    with pytest.raises(Halt, match="runs this job"):
        take_lease(store, there, expiring(there, renewed))
    assert datetime.datetime.fromisoformat(lease_in(store).renewed_at).year == 1970


def test_a_lease_that_was_given_back_is_taken_at_once(store: Store, clock: HandClock) -> None:
    taken(store, clock).give_back()
    assert lease_in(store).ended
    taken(store, clock).renew_when_due()


def test_a_lease_may_be_taken_by_force(store: Store, clock: HandClock) -> None:
    first = taken(store, clock)
    assert take_lease(store, clock, no_wait, force=True, executor=Now()) is not None
    clock.now += RENEW_S
    with pytest.raises(Halt):
        first.renew_when_due()


def test_a_driver_that_is_asked_to_stop_takes_no_lease(store: Store, clock: HandClock) -> None:
    taken(store, clock)
    assert take_lease(store, clock, lambda _: True) is None


def test_an_answer_that_was_lost_is_no_loss(store: Store, clock: HandClock) -> None:
    held = taken(store, clock)
    for _ in range(3):
        store.lost = 1
        clock.now += RENEW_S
        held.renew_when_due()
    assert lease_in(store).renewals == 3


def test_a_conflict_is_no_renewal(store: Store, clock: HandClock) -> None:
    held = taken(store, clock)
    store.undecided = 1
    clock.now += RENEW_S
    held.renew_when_due()
    assert lease_in(store).renewals == 0
    clock.now += RETRY_S
    held.renew_when_due()
    assert lease_in(store).renewals > 0


def test_a_short_outage_does_not_end_the_driver(store: Store, clock: HandClock) -> None:
    held = taken(store, clock)
    store.down = True
    for _ in range(8):
        clock.now += RETRY_S
        held.renew_when_due()
    store.down = False
    clock.now += RETRY_S
    held.renew_when_due()
    clock.now += LAST_S - 1
    held.renew_when_due()


@pytest.mark.parametrize("silent", [False, True])
def test_a_driver_that_cannot_renew_ends_before_another_begins(
    store: Store, clock: HandClock, silent: bool
) -> None:
    began = clock.now
    held = taken(store, clock, Never() if silent else Now())
    store.down = True

    def drive() -> None:
        while clock.now - began < LEASE_S:
            clock.now += 1.0
            held.renew_when_due()

    with pytest.raises(Halt, match="look at the output's store") as raised:
        drive()
    assert raised.value.code == "backfill.lease_lost"
    assert RENEW_S < clock.now - began < LEASE_S
    assert silent or "503" in raised.value.message


def test_a_driver_that_was_frozen_goes_on_if_nobody_took_its_lease(
    store: Store, clock: HandClock
) -> None:
    held = taken(store, clock)
    clock.now += 10 * LEASE_S
    held.renew_when_due()
    assert lease_in(store).renewals == 1
    clock.now += 10 * LEASE_S
    assert take_lease(store, clock, expiring(clock), executor=Now()) is not None
    with pytest.raises(Halt):
        held.renew_when_due()


def test_giving_back_hides_no_other_error(store: Store, clock: HandClock) -> None:
    held = taken(store, clock)
    store.down = True

    def fail() -> None:
        try:
            raise ZeroDivisionError
        finally:
            held.give_back()

    with pytest.raises(ZeroDivisionError):
        fail()


def test_who_lost_the_lease_does_not_end_that_of_the_next(store: Store, clock: HandClock) -> None:
    first = taken(store, clock)
    assert take_lease(store, clock, lambda _: False, executor=Now()) is not None
    first.give_back()
    assert not lease_in(store).ended
