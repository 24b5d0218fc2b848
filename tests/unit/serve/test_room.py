"""Room for images: bounded by the measured pace, fair among keys."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.pace import Pace
from pipeline.metrics import HTTP_IMAGES_IN_HAND, SERVE_REPLICA
from pipeline.priority import FIRST
from workers.serve.admission.memory import Hold
from workers.serve.admission.rates import Rate, Rates
from workers.serve.admission.room import Depth, Room
from workers.serve.caller import ANYBODY, Admitted, Caller
from workers.serve.errors import ApiError

NO_MEMORY = cast("Hold", None)


class Bench:
    """A room of ``most`` images, one second each at the device."""

    def __init__(self, most: int = 100) -> None:
        self.clock, self.meter = HandClock(), MemoryMeter(SERVE_REPLICA)
        self.chance = 0.0
        self.room = Room(
            Depth(0, most, None, lambda images: float(images)),
            Rates(self.clock),
            self.meter,
            lambda: self.chance,
        )
        self.held: dict[str, list[ExitStack]] = {}

    def asks(
        self, name: str, images: int = 1, *, level: int = FIRST, rate: Rate | None = None
    ) -> bool:
        """Whether there is room. The images stay in hand."""
        caller = Caller(name, frozenset(), level=level, rate=rate)
        with ExitStack() as taken:
            try:
                taken.enter_context(self.room.taken(images, admitted(caller)))
            except ApiError as refused:
                self.refusal = refused
                return False
            self.held.setdefault(name, []).append(taken.pop_all())
        return True

    def fills(self, name: str, *, level: int = FIRST) -> int:
        """How many single images find room."""
        count = 0
        while self.asks(name, level=level):
            count += 1
        return count

    def finishes(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.held[name].pop().close()


def admitted(caller: Caller, prepaid: int = 1) -> Admitted:
    return Admitted(caller, "id", NO_MEMORY, prepaid=prepaid)


def test_one_key_alone_may_fill_the_room() -> None:
    bench = Bench()
    assert bench.fills("a") == 100
    assert bench.meter.value(HTTP_IMAGES_IN_HAND) == 100
    bench.finishes("a", 30)
    assert bench.fills("a") == 30
    bench.finishes("a", 100)
    assert bench.meter.value(HTTP_IMAGES_IN_HAND) == 0


def test_a_refusal_says_when_the_images_in_hand_are_done_and_waits_differ() -> None:
    bench = Bench()
    bench.fills("a")
    assert (bench.refusal.status, bench.refusal.code) == (429, "overloaded")
    assert bench.refusal.retry_after_s == 100
    bench.chance = 1.0
    assert not bench.asks("a")
    assert bench.refusal.retry_after_s == 125


def test_a_key_that_filled_the_room_does_not_keep_the_next_one_out() -> None:
    bench = Bench()
    bench.fills("a")
    assert bench.fills("b") == 50, "its share, beyond the bound"
    bench.finishes("a", 40)
    assert not bench.asks("a"), "who holds more than its share waits"
    bench.finishes("a", 20)
    assert bench.fills("a") == 10
    assert bench.room.images == 100


def test_places_in_hand_are_at_most_twice_the_bound_however_many_keys_come() -> None:
    bench = Bench()
    bench.fills("first")
    for number in range(300):
        bench.fills(f"key {number}")
    assert bench.room.images == 200


def test_a_key_that_asks_ten_times_as_often_is_served_no_more_than_the_others() -> None:
    bench = Bench(most=90)
    queue = ["greedy"] * bench.fills("greedy")
    served = dict.fromkeys(("greedy", "b", "c"), 0)
    for _ in range(3000):
        # The device serves in the order of arrival.
        bench.finishes(name := queue.pop(0))
        served[name] += 1
        for asks in ("greedy",) * 10 + ("b", "c") + ("greedy",) * 10:
            queue += [asks] * bench.asks(asks)
    assert max(served.values()) < 1.2 * min(served.values())


def test_a_request_larger_than_the_room_is_taken_while_a_place_is_free() -> None:
    bench = Bench(most=10)
    bench.asks("a", 9)
    assert bench.asks("b", 64)
    assert not bench.asks("c", 64)


def test_without_keys_a_large_request_is_not_kept_out_by_small_ones() -> None:
    bench = Bench(most=10)
    with ExitStack() as taken:
        for number in range(9):
            small = Admitted(ANYBODY, f"small-{number}", NO_MEMORY)
            taken.enter_context(bench.room.taken(1, small))
        taken.enter_context(bench.room.taken(64, Admitted(ANYBODY, "large", NO_MEMORY)))
        with pytest.raises(ApiError, match="73 images in hand"):
            taken.enter_context(bench.room.taken(64, Admitted(ANYBODY, "late", NO_MEMORY)))
    assert bench.room.images == 0


def test_batch_keys_get_what_live_keys_leave() -> None:
    bench = Bench()
    assert bench.fills("batch", level=1) == 100
    assert bench.fills("live") == 100, "live keys do not see what batch keys hold"
    bench.finishes("batch", 90)
    assert not bench.asks("batch", level=1)


def test_batch_keys_keep_a_small_part_while_live_keys_fill_the_room() -> None:
    bench = Bench()
    bench.fills("live")
    assert bench.fills("batch", level=1) == 5
    assert not bench.asks("other batch", level=1, images=3)


def test_a_requests_images_are_charged_to_the_keys_rate_less_the_one_that_is_prepaid() -> None:
    bench = Bench()
    rate = Rate(images_per_s=1, burst=4)
    rates = bench.room._rates
    caller = Caller("a", frozenset(), rate=rate)
    rates.admit("a", rate)
    request = admitted(caller)
    with bench.room.taken(1, request):
        assert dict(rates.headers("a", rate))[b"x-ratelimit-remaining-requests"] == b"3"
    with bench.room.taken(2, request):
        assert dict(rates.headers("a", rate))[b"x-ratelimit-remaining-requests"] == b"1"
    with pytest.raises(ApiError) as refused, bench.room.taken(9, request):
        raise AssertionError("there is no such balance")
    assert refused.value.code == "rate_limit_exceeded"
    assert bench.room.images == 0


def test_room_is_given_back_when_a_request_fails() -> None:
    bench = Bench()
    with pytest.raises(KeyError), bench.room.taken(3, admitted(Caller("a", frozenset()))):
        raise KeyError
    assert bench.room.images == 0


# -- how deep the room is -------------------------------------------------------------------------


def paced(images_per_s: int) -> Pace:
    """A device that has finished some batches at this pace."""
    pace = Pace()
    for second in range(4):
        pace.begin(second)
        pace.finish(images_per_s, second + 1)
    return pace


@pytest.mark.parametrize(
    ("images_per_s", "max_wait_s", "bound"),
    [
        (100, None, 24 + 64),
        (1000, None, 24 + 64),
        (100, 0.5, 24 + 50),
        (1000, 0.5, 24 + 500),
        (1, 0.5, 24 + 12),  # never so few that lanes run empty
    ],
)
def test_the_depth_follows_the_measured_pace(
    images_per_s: int, max_wait_s: float | None, bound: int
) -> None:
    pace = paced(images_per_s)
    assert Depth(24, 64, max_wait_s, lambda images: pace.wait_s(images, 4))() == bound
