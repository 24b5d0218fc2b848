"""Surveys dead letters: how many of each code, and the newest ones as samples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from pipeline.errors import CODES
from pipeline.ports import Clock
from pipeline.records import JsonValue, Partition, Record
from pipeline.replay import is_marker
from workers.serve.caller import Caller
from workers.serve.live.outcome import Object, Outcome, outcome_of
from workers.serve.live.topics import Topics

HOURS = 24
MOST_LETTERS = 100_000
DEADLINE_S = 10.0
KEPT_S = 10.0
"""A survey is shown again for so long."""

SAMPLES = 5
BOUND = f"the last {HOURS} hours, at most {MOST_LETTERS:,} letters"
CUT = " and as many as can be read in some seconds"


@dataclass
class OfCode:
    """The letters of one code. ``replayed`` of them were sent back already."""

    count: int = 0
    replayed: int = 0
    newest: list[Outcome] = field(default_factory=list)
    """Newest first."""

    def add(self, letter: Outcome) -> None:
        self.count += 1
        self.newest = sorted([*self.newest, letter], key=lambda each: -each.at)[:SAMPLES]


@dataclass
class Survey:
    """What a look back has found. ``since`` is the time in Unix seconds from which on all letters
    were looked at; ``whole`` says whether that is the whole of the time that is looked back."""

    since: float
    whole: bool = True
    letters: int = 0
    codes: dict[str, OfCode] = field(default_factory=dict)

    def to_json(self, wanted: Callable[[str], bool]) -> Object:
        """What the page gets: the codes that are ``wanted``, the most frequent first."""
        rows = sorted(self.codes.items(), key=lambda row: -row[1].count)
        return {
            "looked_back": {
                "letters": self.letters,
                "since": self.since,
                "whole": self.whole,
                "bound": BOUND if self.whole else BOUND + CUT,
            },
            "codes": [_row(code, of_code) for code, of_code in rows if wanted(code)],
        }


class Letters:
    """Belongs to one event loop."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        # By what a key may see, because no key may learn of more.
        self._kept: dict[object, tuple[float, Survey]] = {}

    async def survey(self, caller: Caller) -> Survey:
        """The newest dead letters that the caller may see.

        Raises:
            Retry: the broker does not answer.
            Halt: not allowed, or the topic is missing.
        """
        sight = (caller.objects, caller.tenants, caller.label_sets)
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            self._kept = {
                other: kept for other, kept in self._kept.items() if now - kept[0] < KEPT_S
            }
            if sight not in self._kept:
                survey = await asyncio.to_thread(self._look_back, caller)
                self._kept[sight] = (self._clock.monotonic(), survey)
            return self._kept[sight][1]

    def _look_back(self, caller: Caller) -> Survey:
        deadline = self._clock.monotonic() + DEADLINE_S
        survey = Survey(since=self._clock.time() - HOURS * 3600)
        codes: dict[str, str] = {}
        replayed: set[str] = set()
        oldest_ms: dict[Partition, int] = {}
        since_ms = round(survey.since * 1000)
        with self._topics.newest_letters(since_ms, MOST_LETTERS) as (survey.whole, windows):
            for window in windows:
                if self._clock.monotonic() > deadline:
                    survey.whole = False
                    break
                for record in chain.from_iterable(window):
                    partition = record.position.partition
                    oldest_ms[partition] = min(
                        record.timestamp_ms, oldest_ms.get(partition, record.timestamp_ms)
                    )
                    if (marked := is_marker(record)) is not None:
                        replayed.add(marked)
                        continue
                    seen = _letter(record, caller)
                    # With at-least-once delivery a letter may be on the topic twice.
                    if seen is not None and seen.id not in codes:
                        codes[seen.id] = seen.code or ""
                        survey.codes.setdefault(codes[seen.id], OfCode()).add(seen)
        for letter_id in replayed & codes.keys():
            survey.codes[codes[letter_id]].replayed += 1
        survey.letters = len(codes)
        if not survey.whole:
            survey.since = max(oldest_ms.values(), default=since_ms) / 1000
        return survey


def _letter(record: Record, caller: Caller) -> Outcome | None:
    """The dead letter, if the record is one and the caller may see it."""
    outcome = outcome_of(record)
    if outcome is None or outcome.kind != "dead_letter":
        return None
    return outcome.seen_by(caller)


def _row(code: str, of_code: OfCode) -> JsonValue:
    known = CODES.get(code)
    return {
        "code": code,
        "count": of_code.count,
        "replayed": of_code.replayed,
        "meaning": "a code of another release" if known is None else known.meaning,
        "remedy": "read the messages of the samples" if known is None else known.remedy,
        "newest_at": of_code.newest[0].at,
        "samples": [
            {
                "id": letter.id,
                "at": letter.at,
                "subject": letter.subject,
                "uri": letter.uri,
                "message": letter.message,
                "attempts": letter.attempts,
                "image": letter.image,
            }
            for letter in of_code.newest
        ],
    }
