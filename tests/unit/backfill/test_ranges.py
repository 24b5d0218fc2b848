"""Ranges of a listing, in virtual time: nothing is lost or doubled, and all requests are busy."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.s3.ranges import Range, Ranges, UnsortedError

PREFIX = "p/"
PAGE_KEYS = 1000


class Listing:
    """Lists keys with some requests at the same time. Each takes from half to one and a half units
    of time."""

    def __init__(
        self, keys: Sequence[str], requests: int, page_keys: int = PAGE_KEYS, seed: int = 0
    ) -> None:
        self.keys = keys
        self.found: list[str] = []
        self.requests = 0
        self.took = 0.0
        self._page_keys = page_keys
        self._idle = requests
        self._random = random.Random(seed)
        self._flying: list[tuple[float, int, str, Range | None]] = []
        self._ranges = Ranges(PREFIX, page_keys)

    def run(self, hints: Sequence[str] = ()) -> None:
        self._ranges.hint(hints)
        self._send("", self._ranges.first)
        while self._flying:
            self.took, _, after, part = heapq.heappop(self._flying)
            self._idle += 1
            place = bisect_right(self.keys, after)
            page = self.keys[place : place + self._page_keys]
            last = place + self._page_keys >= len(self.keys)
            if part is None:
                part = self._ranges.probed(after, found=bool(page))
            if part is not None:
                count = self._ranges.advance(part, page, last=last)
                self.found += page[:count]
                if not part.complete:
                    self._send(part.at, part)
            while self._idle and (point := self._ranges.point()) is not None:
                self._send(point, None)
        assert self._ranges.complete

    def _send(self, after: str, part: Range | None) -> None:
        self._idle -= 1
        self.requests += 1
        answered_at = self.took + 0.5 + self._random.random()
        heapq.heappush(self._flying, (answered_at, self.requests, after, part))


keys = st.lists(
    st.one_of(
        st.text("ab0/._+\x01\x7f\ud7ff\ue000\uffff\U0010ffff é", min_size=1, max_size=5),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.integers(0, 500).map("img-{:05}.jpg".format),
        st.sampled_from("aé").map(lambda each: each * 500),
    ),
    unique=True,
    max_size=150,
).map(lambda some: sorted(PREFIX + each for each in some))


@given(keys, st.integers(1, 20), st.integers(1, 9), st.integers(), st.data())
def test_no_key_is_lost_or_doubled_whatever_the_keys_are(
    keys: list[str], requests: int, page_keys: int, seed: int, data: st.DataObject
) -> None:
    hints = data.draw(st.lists(st.sampled_from(keys), max_size=5)) if keys else []
    listing = Listing(keys, requests, page_keys, seed)
    listing.run(hints)
    assert sorted(listing.found) == keys


COUNT = 200_000
HASHED = random.Random(5)

SHAPES = {
    "numbered": [f"p/IMG_{at:08}.jpg" for at in range(COUNT)],
    "with a number of its own length": sorted(f"p/{at}.jpg" for at in range(COUNT)),
    "hashes": sorted(f"p/{HASHED.getrandbits(128):032x}" for _ in range(COUNT)),
    "capitals and hashes": sorted(f"p/X-{HASHED.getrandbits(64):016X}.png" for _ in range(COUNT)),
    "by day": sorted(
        f"p/2024/{1 + at % 12:02}/{1 + at % 28:02}/{at:07}.jpg" for at in range(COUNT)
    ),
    "two people": sorted(f"p/{('alice', 'zoe')[at % 2]}/{at:07}.jpg" for at in range(COUNT)),
}


LEAST_RATIO = {"with a number of its own length": 5}


@pytest.mark.parametrize("shape", SHAPES)
def test_16_requests_list_a_flat_prefix_many_times_as_fast_as_one(shape: str) -> None:
    keys = SHAPES[shape]
    listing = Listing(keys, 16)
    listing.run()
    assert sorted(listing.found) == keys
    assert COUNT / PAGE_KEYS / listing.took >= LEAST_RATIO.get(shape, 8)
    assert listing.requests < 2 * COUNT / PAGE_KEYS


def test_folders_that_are_known_divide_what_no_arithmetic_could() -> None:
    names = sorted({f"p/{HASHED.choice('klmnop')}{chr(0x4E00 + at)}/" for at in range(100)})
    keys = [f"{name}{at:04}.jpg" for name in names for at in range(1000)]
    listing = Listing(keys, 16)
    listing.run(names)
    assert listing.found != keys
    assert sorted(listing.found) == keys
    assert len(keys) / PAGE_KEYS / listing.took >= 8


@pytest.mark.parametrize("page", [["p/b", "p/a"], ["p/a", "p/a"], ["o/a", "p/b"], ["p/a", "q"]])
def test_keys_in_another_order_than_that_of_s3_are_refused(page: list[str]) -> None:
    ranges = Ranges(PREFIX)
    with pytest.raises(UnsortedError):
        ranges.advance(ranges.first, page, last=True)


def test_a_page_that_begins_before_what_was_asked_for_is_refused() -> None:
    ranges = Ranges(PREFIX)
    ranges.advance(ranges.first, ["p/a", "p/b"], last=False)
    with pytest.raises(UnsortedError):
        ranges.advance(ranges.first, ["p/b", "p/c"], last=True)
