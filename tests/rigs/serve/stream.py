"""The topics of a stream in memory, and outcomes as a stream worker publishes them."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.errors import Halt, Retry
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    OutputRecord,
    Partition,
    Position,
    Record,
)
from pipeline.replay import Found, Letter, Search, marker_headers

INPUT = "images"
CONTEXT = EventContext("cluster", "group", {INPUT: "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"}, "1")
LOOKED = Looked(
    embedding=np.array([0.6, 0.8], dtype=np.float32),
    model=ModelIdentity("model", "1", 2, 100.0, "fp32", "torch-cpu"),
    image=ImageFacts("JPEG", 640, 480, 1, 0.25),
    sha256="ab" * 32,
    size_bytes=9876,
    decode_mode="strict",
    decode_crop="transformers",
)
WRITTEN_S = 1_767_225_600.0

_builder = EventBuilder(CONTEXT, EventsPolicy(embeddings=False))
_offsets = itertools.count()


def photo(name: str, bucket: str = "photos", tenant: str | None = None, *sets: str) -> ImageRef:
    return ImageRef(bucket, name, sets or ("shapes",), tenant=tenant)


def result(label_set: str = "shapes", decision: str = "allow", *matched: str) -> LabelSetResult:
    scores = tuple(LabelScore(label, 0.9, 0.3) for label in matched)
    return LabelSetResult(label_set, "sha256:1", scores, matched, decision)


def classified(
    ref: ImageRef, *results: LabelSetResult, at: float = WRITTEN_S, partition: int = 0
) -> Record:
    outcome = Classification(ref, LOOKED, results or (result(),), "read-etag", "read-version")
    return _published(_builder.records(_origin(), outcome)[0], at, partition)


def dead(
    ref: ImageRef | None,
    code: str = "fetch.not_found",
    *,
    at: float = WRITTEN_S,
    partition: int = 0,
    origin: Origin | None = None,
) -> Record:
    """A dead letter; without a reference that of a record that could not be read."""
    origin = origin or _origin()
    raw = Record(origin.position, 0, b"key", b'{"bucket": "secret"') if ref is None else None
    outcome = DeadLetter(code, f"{code}: no", 3, ref=ref)
    return _published(_builder.records(origin, outcome, raw)[0], at, partition)


def _origin() -> Origin:
    return Origin(Position(Partition(INPUT, 0), next(_offsets)), 0, 0, b"key")


def _published(record: OutputRecord, at: float, partition: int) -> Record:
    position = Position(Partition(record.topic, partition), next(_offsets))
    return Record(position, round(at * 1000), record.key, record.value, record.headers)


class MemoryTail:
    def __init__(self, polls: queue.Queue[Sequence[Record] | Exception], polled: list[int]) -> None:
        self._polls = polls
        self._polled = polled

    def poll(self, timeout_s: float) -> Sequence[Record]:
        self._polled.append(1)
        try:
            polled = self._polls.get(timeout=0.01)
        except queue.Empty:
            return ()
        if isinstance(polled, Exception):
            raise polled
        return polled


@dataclass
class MemoryTopics:
    """Implements ``workers.serve.live.topics.Topics``. ``letters`` are what is on the dead-letter
    topic, in order. ``fails`` is raised by every call."""

    letters: list[Record] = field(default_factory=list)
    lagging: int = 7
    fails: Retry | Halt | None = None
    sent: list[str] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    passes: int = 0
    whole: bool = True
    windows: int = 1
    each_window: Callable[[], object] = lambda: None
    each_record: Callable[[], object] = lambda: None
    polls: queue.Queue[Sequence[Record] | Exception] = field(default_factory=queue.Queue)
    polled: list[int] = field(default_factory=list)

    def deliver(self, *records: Record) -> None:
        """Let whoever reads the outputs see these records."""
        self.polls.put(records)

    @contextmanager
    def tail(self, newest: int) -> Iterator[MemoryTail]:
        self._check()
        self.opened += 1
        try:
            yield MemoryTail(self.polls, self.polled)
        finally:
            self.closed += 1

    def lag(self) -> int:
        self._check()
        return self.lagging

    @contextmanager
    def newest_letters(
        self, since_ms: int, most: int
    ) -> Iterator[tuple[bool, Iterator[Iterator[list[Record]]]]]:
        self._check()
        self.passes += 1
        young = [each for each in self.letters if each.timestamp_ms >= since_ms]
        step = max(1, -(-len(young) // self.windows))
        starts = range(0, len(young), step)

        def windows() -> Iterator[Iterator[list[Record]]]:
            for start in reversed(starts):
                yield iter([young[start : start + step]])
                self.each_window()

        yield self.whole, windows()

    def find(self, search: Search, told: Callable[[int], object]) -> Found:
        self._check()
        found = Found()
        for count, record in enumerate(self.letters, start=1):
            self.each_record()
            told(count)
            found.take(record, search, lambda letter: None)
        found.keep(search.limit)
        return found

    def replay(self, search: Search, told: Callable[[int], object]) -> tuple[int, Found]:
        found = self.find(search, told)
        for record in tuple(self.letters):
            letter = Letter.of(record)
            if letter is not None and letter.id in found.due:
                self.sent.append(letter.subject)
                at = replace(record.position, offset=next(_offsets))
                self.letters.append(replace(record, position=at, headers=marker_headers(letter)))
        return len(found.due), found

    def _check(self) -> None:
        if self.fails is not None:
            raise self.fails
