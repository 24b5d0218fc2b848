"""Which finished records of a partition may be committed now, and how far that brings the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.commit.settled import Settled
from pipeline.records.progress import MAX_DISTANCE, MAX_RANGES, Progress, joined

Order = Literal["partition", "key", "none"]
"""What an outcome waits for: for all earlier outcomes of its partition; for earlier outcomes of the
same key, so that records without a key wait for none; for nothing."""


@dataclass(slots=True)
class Entry:
    """One polled record. ``missing`` counts the references without an outcome; it is None until the
    record's references are known."""

    begun_at: float
    key: bytes | None = None
    missing: int | None = None
    settled: list[Settled | None] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.missing == 0

    @property
    def outcomes(self) -> Iterator[Settled]:
        return filter(None, self.settled)

    @property
    def size_bytes(self) -> int:
        return sum(settled.size_bytes for settled in self.outcomes)


@dataclass(frozen=True, slots=True)
class Choice:
    """Records of one partition to commit together, and the partition's progress with them.
    ``outcomes`` are in offset order, and in reference order within a record."""

    progress: Progress
    outcomes: tuple[Settled, ...]


def choose(
    entries: Mapping[int, Entry],
    progress: Progress,
    position: int,
    order: Order,
    admits: Callable[[Entry], bool] = lambda entry: True,
) -> Choice:
    """Choose finished records, in offset order, until one is not admitted.

    Args:
        entries: the partition's records that are not committed, by ascending offset.
        progress: what is committed.
        position: the next offset to be polled.
    """
    chosen: list[int] = []
    for offset in _in_order(entries, order, progress.offset + MAX_DISTANCE):
        if not admits(entries[offset]):
            break
        chosen.append(offset)
    reached = _reached(entries, chosen, progress, position)
    while len(reached.ahead) > MAX_RANGES:
        # Too much to remember: the last ones wait, as all do in the order of the partition.
        first = sum(offset < reached.offset for offset in chosen)
        if first == len(chosen):
            break
        chosen = chosen[: (first + len(chosen)) // 2]
        reached = _reached(entries, chosen, progress, position)
    outcomes = tuple(settled for offset in chosen for settled in entries[offset].outcomes)
    return Choice(reached, outcomes)


def _in_order(entries: Mapping[int, Entry], order: Order, limit: int) -> Iterator[int]:
    """The finished records that wait for none of those that stay."""
    complete = True
    waiting: set[bytes] = set()
    for offset, entry in entries.items():
        if entry.finished and (complete or (offset < limit and entry.key not in waiting)):
            yield offset
            continue
        if order == "partition" or offset >= limit:
            return
        complete = False
        if order == "key" and entry.key is not None:
            waiting.add(entry.key)


def _reached(
    entries: Mapping[int, Entry], chosen: list[int], progress: Progress, position: int
) -> Progress:
    """The progress once the chosen records are committed. Offsets without a record below
    ``position`` are gaps in the log."""
    taken = set(chosen)
    left = [offset for offset in entries if offset not in taken]
    offset = left[0] if left else max(position, progress.offset)
    for each in progress.ahead:
        if offset in each:  # passed over without being polled
            offset = each.stop
    done = [
        *(each for each in progress.ahead if each.start > offset),
        *(range(each, each + 1) for each in chosen if each > offset),
    ]
    done.sort(key=lambda each: each.start)
    return Progress(offset, joined(done, left, position))
