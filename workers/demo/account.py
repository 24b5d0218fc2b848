"""Checks that each sent reference has exactly one outcome. References are compared one by one and
not only counted."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.adapters.kafka.outcomes import PublishedOutcome
from pipeline.records import OutputTopic
from workers.demo.messages import DemoMessage


@dataclass(frozen=True, slots=True)
class Entry:
    """One reference, by its place on the input topic."""

    partition: int
    offset: int
    index: int


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A message of the demo, and its place on the input topic."""

    message: DemoMessage
    partition: int
    offset: int

    def entries(self) -> Iterator[Entry]:
        return (Entry(self.partition, self.offset, n) for n in range(self.message.entries))


@dataclass(frozen=True, slots=True)
class Account:
    """``lost`` references have no outcome. ``duplicated`` counts outcomes beyond the first of a
    reference, and outcomes of references that were not sent."""

    lost: int
    duplicated: int


@dataclass
class Results:
    """The visible outcomes, and when the last one appeared."""

    sent: Sequence[SentRecord]
    classified: list[PublishedOutcome] = field(default_factory=list)
    dead_letters: list[PublishedOutcome] = field(default_factory=list)
    embeddings: int = 0
    skipped: int = 0
    last_at: float = 0.0

    def __post_init__(self) -> None:
        self._expected = Counter(
            entry
            for record in self.sent
            for entry in record.entries()
            if not record.message.is_skipped
        )
        self._visible: Counter[Entry] = Counter()

    @property
    def references(self) -> int:
        return self.expected_visible + self.expected_skips

    @property
    def expected_visible(self) -> int:
        return self._expected.total()

    @property
    def expected_skips(self) -> int:
        return sum(record.message.entries for record in self.sent if record.message.is_skipped)

    @property
    def images_per_second(self) -> float:
        """Rate of the images after the first transaction, by their publishing times. The first
        transaction's time shows when it ended, not when its images began."""
        times = sorted(outcome.timestamp_ms for outcome in self.classified)
        if not times or times[0] == times[-1]:
            return 0.0
        after = sum(time > times[0] for time in times)
        return 1000 * after / (times[-1] - times[0])

    @property
    def all_visible(self) -> bool:
        """Whether each reference that is not skipped has at least one outcome."""
        return self._expected <= self._visible

    @property
    def complete(self) -> bool:
        return self.all_visible and self.skipped >= self.expected_skips

    def add(self, outcome: PublishedOutcome) -> None:
        self.last_at = time.monotonic()
        if outcome.topic is OutputTopic.EMBEDDINGS:
            self.embeddings += 1
            return
        if outcome.topic is OutputTopic.ACTIONS:  # it follows from an outcome
            return
        classified = outcome.topic is OutputTopic.CLASSIFICATIONS
        (self.classified if classified else self.dead_letters).append(outcome)
        self._visible[entry_of(outcome)] += 1

    def account(self) -> Account:
        """Skipped references leave no record, so only their number is known."""
        skips_missing = self.expected_skips - self.skipped
        return Account(
            lost=(self._expected - self._visible).total() + max(0, skips_missing),
            duplicated=(self._visible - self._expected).total() + max(0, -skips_missing),
        )


def entry_of(outcome: PublishedOutcome) -> Entry:
    """The reference of a classification or a dead letter, as the event itself names it."""
    if outcome.topic is OutputTopic.CLASSIFICATIONS:
        position = json.loads(outcome.value)["position"]
        return Entry(position["partition"], position["offset"], position["index"])
    headers = outcome.headers
    return Entry(
        int(headers["dlq.partition"]), int(headers["dlq.offset"]), int(headers["dlq.index"])
    )
