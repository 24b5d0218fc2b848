"""How far a group has come in a partition: the committed offset, and what is done beyond it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Ranges = tuple[range, ...]
"""Ranges of offsets: ascending, not empty, and with a gap between any two."""

MAX_RANGES = 400
MAX_DISTANCE = 100_000
"""Bounds of what is remembered beyond a committed offset. A new owner of the partition reads up to
``MAX_DISTANCE`` offsets again, to pass over them. Within both bounds ``Progress.runs`` has at most
3,300 characters in decimal: the sum of 800 numbers is at most 100,000, and their digits are most
when all are equal. A broker accepts 4,096 by default (``offset.metadata.max.bytes``)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All offsets below ``offset`` are done, and those in ``ahead`` are. ``offset`` itself is not:
    it is the committed offset, where the next owner starts to read."""

    offset: int
    ahead: Ranges = ()

    def __contains__(self, offset: int) -> bool:
        """Whether an offset is done."""
        if offset < self.offset:
            return True
        place = bisect_right(self.ahead, offset, key=lambda each: each.start)
        return place > 0 and offset < self.ahead[place - 1].stop

    @property
    def beyond(self) -> int:
        """How many offsets beyond ``offset`` are done."""
        return sum(map(len, self.ahead))

    @property
    def count(self) -> int:
        """How many offsets are done, from 0 on. The end of the log less this is the lag."""
        return self.offset + self.beyond

    @property
    def runs(self) -> tuple[int, ...]:
        """``ahead`` as numbers of offsets from ``offset`` on: not done, done, not done, done, …"""
        ends = [self.offset, *(end for each in self.ahead for end in (each.start, each.stop))]
        return tuple(later - earlier for earlier, later in pairwise(ends))

    @classmethod
    def of_runs(cls, offset: int, runs: Sequence[int]) -> Progress:
        """The inverse of ``runs``.

        Raises:
            ValueError: these are no runs.
        """
        if len(runs) % 2 or any(run <= 0 for run in runs):
            raise ValueError(f"{runs} are not pairs of positive numbers")
        ahead, end = [], offset
        for undone, done in zip(runs[::2], runs[1::2], strict=True):
            ahead.append(range(end + undone, end + undone + done))
            end += undone + done
        return cls(offset, tuple(ahead))

    def __str__(self) -> str:
        return f"{self.offset} and {self.beyond} offsets beyond" if self.ahead else str(self.offset)


def joined(done: Iterable[range], undone: Sequence[int], polled: int) -> Ranges:
    """Join neighbouring ranges of done offsets with no undone offset between them.

    What lies between them are gaps in the log. ``done`` ascends. ``undone`` are ascending offsets.
    At ``polled`` and beyond it is not known what is a gap.
    """
    ranges: list[range] = []
    for each in done:
        if ranges and each.start <= max(polled, ranges[-1].stop):
            last = ranges[-1]
            place = bisect_right(undone, last.start)
            if place == len(undone) or undone[place] >= each.start:
                ranges[-1] = range(last.start, max(last.stop, each.stop))
                continue
        ranges.append(each)
    return tuple(ranges)
