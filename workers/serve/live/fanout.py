"""Hands each outcome to all who look, through queues that never hold up whoever reads Kafka."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.ports import Clock
from workers.serve.caller import Caller
from workers.serve.live.outcome import Outcome

NEWEST = 50
"""Outcomes that somebody sees who begins to look."""

MOST_WAITING = 200
"""Outcomes that wait for one reader. The oldest are dropped beyond that."""

REMEMBERED_IDS = 2000
"""Outcomes by which one that is read twice is known. The topics are read again from a little before
their end when the reader connects anew."""

RATE_S = 10.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which outcomes are wanted: those that every given part admits. ``text`` is found in the
    subject, the URI, the code and the message, in any case."""

    decision: str | None = None
    label_set: str | None = None
    label: str | None = None
    text: str | None = None

    def admits(self, outcome: Outcome) -> bool:
        if self.label_set is not None and self.label_set not in outcome.label_sets:
            return False
        decisions = [
            each
            for each in outcome.decisions
            if self.label_set is None or each["label_set"] == self.label_set
        ]
        if self.decision is not None and all(
            each["decision"] != self.decision for each in decisions
        ):
            return False
        if self.label is not None and all(
            self.label not in _labels(each["matched"]) for each in decisions
        ):
            return False
        if self.text is None:
            return True
        told = (outcome.subject, outcome.uri, outcome.code, outcome.message)
        return any(self.text.casefold() in each.casefold() for each in told if each is not None)


class Reader:
    """What waits for one who looks, and figures about what their key may see."""

    def __init__(self, caller: Caller, wanted: Filter, clock: Clock) -> None:
        self._caller = caller
        self._wanted = wanted
        self._clock = clock
        self._waiting: deque[Outcome] = deque()
        self._times: deque[float] = deque()
        self._newest_at: float | None = None
        self.dropped = 0
        """Outcomes that were left out because they were not taken in time."""

    def offer(self, outcome: Outcome) -> None:
        seen = outcome.seen_by(self._caller)
        if seen is None:
            return
        self._times.append(seen.at)
        self._newest_at = max(seen.at, self._newest_at or 0.0)
        if not self._wanted.admits(seen):
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(seen)

    @property
    def rate(self) -> float:
        """Outcomes a second, by their time of publication."""
        since = self._clock.time() - RATE_S
        while self._times and self._times[0] < since:
            self._times.popleft()
        return len(self._times) / RATE_S

    @property
    def age_s(self) -> float | None:
        """Seconds since the newest outcome was published. None without one."""
        if self._newest_at is None:
            return None
        return max(0.0, self._clock.time() - self._newest_at)

    def take(self, most: int) -> list[Outcome]:
        """The oldest outcomes that wait."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class Fanout:
    """Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readers: set[Reader] = set()
        self._ids: deque[str] = deque()
        self._known: set[str] = set()
        self._newest: list[Outcome] = []

    @property
    def readers(self) -> int:
        return len(self._readers)

    @contextmanager
    def joined(self, caller: Caller, wanted: Filter) -> Iterator[Reader]:
        """A reader during the block. The newest outcomes wait for it at once."""
        reader = Reader(caller, wanted, self._clock)
        for outcome in self._newest:
            reader.offer(outcome)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def publish(self, outcomes: Sequence[Outcome]) -> None:
        """Hand outcomes to all readers. Those that were handed out before are left out."""
        fresh = [outcome for outcome in outcomes if self._is_fresh(outcome.id)]
        fresh.sort(key=lambda outcome: outcome.at)
        self._newest = sorted([*self._newest, *fresh], key=lambda each: each.at)[-NEWEST:]
        for outcome in fresh:
            for reader in self._readers:
                reader.offer(outcome)

    def forget(self) -> None:
        """Nothing is read any more: what is known grows old."""
        self._newest.clear()
        self._ids.clear()
        self._known.clear()

    def _is_fresh(self, outcome_id: str) -> bool:
        if outcome_id in self._known:
            return False
        self._known.add(outcome_id)
        self._ids.append(outcome_id)
        if len(self._ids) > REMEMBERED_IDS:
            self._known.discard(self._ids.popleft())
        return True


def _labels(matched: object) -> Sequence[object]:
    return matched if isinstance(matched, list) else ()
