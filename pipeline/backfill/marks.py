"""How far a job's events are published: one mark for each of its lanes.

A lane is every n-th shard. Whoever publishes a lane writes its mark in the transaction of the
events, so the mark says exactly what readers see.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from pipeline.backfill.job import Written

LANES = 16
"""Never changes: marks of jobs that are partly published count on it."""

MAX_MARK_BYTES = 4000
"""Brokers accept 4,096 bytes beside an offset (``offset.metadata.max.bytes``)."""


class Published(Written):
    """A copy of a lane's mark in the output. Kafka forgets marks that nobody writes for some days,
    and a lane without a mark would be published once more. May be behind the mark."""

    topic: str
    mark: str


_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_PARTIAL = re.compile(r"(\d+)@(\d+)")


def lane_of(shard: int) -> int:
    return shard % LANES


@dataclass(frozen=True, slots=True)
class Mark:
    """``shards`` are published as a whole, and of ``begun`` the rows below ``row``."""

    shards: frozenset[int] = frozenset()
    begun: int | None = None
    row: int = 0

    @classmethod
    def parse(cls, written: str) -> Self:
        """
        Raises:
            ValueError: this is no mark.
        """
        ranges, _, partial = written.partition(" ")
        shards: set[int] = set()
        for each in ranges.split(",") if ranges else ():
            found = _RANGE.fullmatch(each)
            if found is None:
                raise ValueError(f"{written[:60]!r} is no mark")
            shards.update(range(int(found[1]), int(found[2] or found[1]) + 1, LANES))
        if not partial:
            return cls(frozenset(shards))
        found = _PARTIAL.fullmatch(partial)
        if found is None:
            raise ValueError(f"{written[:60]!r} is no mark")
        return cls(frozenset(shards), int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """Ranges of shards of one lane, such as ``0-160,192``, and what is begun: ``208@4000``."""
        ranges: list[list[int]] = []
        for shard in sorted(self.shards):
            if ranges and shard == ranges[-1][1] + LANES:
                ranges[-1][1] = shard
            else:
                ranges.append([shard, shard])
        text = ",".join(
            str(first) if first == last else f"{first}-{last}" for first, last in ranges
        )
        return text if self.begun is None else f"{text} {self.begun}@{self.row}"

    def next(self, committed: Collection[int]) -> int | None:
        """The shard of ``committed`` to go on with; None if all of them are published, or if what
        is published has too many gaps to be written down. Such gaps close as the job goes on."""
        if self.begun is not None:
            return self.begun
        shard = min((each for each in committed if each not in self.shards), default=None)
        if shard is None or len(str(self.after(shard))) > MAX_MARK_BYTES:
            return None
        return shard

    def within(self, shard: int, row: int) -> Self:
        """The rows of ``shard`` below ``row`` are published."""
        return replace(self, begun=shard, row=row)

    def after(self, shard: int) -> Self:
        """The whole shard is published."""
        return replace(self, shards=self.shards | {shard}, begun=None, row=0)

    def covers(self, earlier: Mark) -> bool:
        """Whether all that ``earlier`` says is published."""
        if not earlier.shards <= self.shards:
            return False
        begun = earlier.begun
        return (
            begun is None
            or begun in self.shards
            or (begun == self.begun and earlier.row <= self.row)
        )
