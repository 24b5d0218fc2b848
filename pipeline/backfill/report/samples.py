"""Some rows of each label and band of scores, and of each code, so that a report can show them.

Which rows are kept depends on their identity alone: each row has a number that is as good as drawn
at random, and of each kind the rows with the smallest numbers are kept. So the samples of a shard
do not depend on the order in which its rows came, and those of a job are the smallest of its
shards' samples: a sample of all its rows, each of which is as likely as any other.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.backfill.job import Count, Written
from pipeline.backfill.rows import PlanRow
from pipeline.records import Classification, DeadLetter

BANDS = 5
"""Bands of scores, each as wide as the others, from 0 to 1."""

PER_BAND = 3
PER_CODE = 3

LONGEST_MESSAGE = 300

AnyKey = TypeVar("AnyKey")
AnyValue = TypeVar("AnyValue")


class SampledObject(Written):
    """The object of a row."""

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Scored(Written):
    """What a label set made of a row: the label's score, and the decision about the image."""

    row: Count
    score: float
    decision: str


class Failed(Written):
    row: Count
    message: str


class Samples(Written):
    """Samples of one shard. ``objects`` are by row. ``scored`` has for each label of each label set
    one list for each band, the lowest first. ``failed`` is by code."""

    objects: Mapping[int, SampledObject] = {}
    scored: Mapping[str, Mapping[str, tuple[tuple[Scored, ...], ...]]] = {}
    failed: Mapping[str, tuple[Failed, ...]] = {}

    def without(self, rows: Collection[int]) -> Samples:
        """The samples without some rows: they were erased."""
        return Samples(
            objects={row: each for row, each in self.objects.items() if row not in rows},
            scored={
                name: {
                    label: tuple(
                        tuple(each for each in band if each.row not in rows) for band in bands
                    )
                    for label, bands in labels.items()
                }
                for name, labels in self.scored.items()
            },
            failed={
                code: tuple(each for each in failed if each.row not in rows)
                for code, failed in self.failed.items()
            },
        )


class _Smallest(Generic[AnyKey, AnyValue]):
    """Keeps of each key the values with the smallest numbers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[AnyKey, list[tuple[int, AnyValue]]] = {}

    def wants(self, key: AnyKey, number: int) -> bool:
        kept = self._kept.get(key)
        return kept is None or len(kept) < self._most or number < kept[-1][0]

    def add(self, key: AnyKey, number: int, value: AnyValue) -> None:
        """Call only if ``wants``."""
        kept = self._kept.setdefault(key, [])
        insort(kept, (number, value), key=lambda each: each[0])
        del kept[self._most :]

    def of(self, key: AnyKey) -> list[AnyValue]:
        return [value for _, value in self._kept.get(key, ())]

    def kinds(self) -> Iterable[AnyKey]:
        return self._kept.keys()


class Sampler:
    """Samples the rows of one shard as they come. Not thread-safe."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._scored: _Smallest[tuple[str, str, int], tuple[Scored, SampledObject]] = _Smallest(
            PER_BAND
        )
        self._failed: _Smallest[str, tuple[PlanRow, str]] = _Smallest(PER_CODE)

    def add(self, row: PlanRow, outcome: Classification | DeadLetter | None) -> None:
        """None: the row was skipped by its route."""
        number = lot(self._shard, row.number)
        if isinstance(outcome, DeadLetter):
            if self._failed.wants(outcome.code, number):
                self._failed.add(outcome.code, number, (row, outcome.message))
        elif outcome is not None:
            for result in outcome.results:
                for each in result.scores:
                    key = result.label_set, each.label, band_of(each.score)
                    if self._scored.wants(key, number):
                        found = Scored(
                            row=row.number, score=round(each.score, 4), decision=result.decision
                        )
                        read = SampledObject(
                            bucket=row.bucket,
                            key=row.key,
                            version_id=outcome.version_id,
                            etag=outcome.etag,
                        )
                        self._scored.add(key, number, (found, read))

    def keep(
        self,
        key: tuple[str, str, int],
        row: int,
        sample: Callable[[], tuple[Scored, SampledObject]],
    ) -> None:
        """Add a row's score if it is drawn. ``key`` has its label set, label and band."""
        number = lot(self._shard, row)
        if self._scored.wants(key, number):
            self._scored.add(key, number, sample())

    def samples(self) -> Samples:
        objects: dict[int, SampledObject] = {}
        scored: dict[str, dict[str, list[tuple[Scored, ...]]]] = {}
        for name, label, band in self._scored.kinds():
            kept = self._scored.of((name, label, band))
            bands = scored.setdefault(name, {}).setdefault(label, [()] * BANDS)
            bands[band] = tuple(each for each, _ in kept)
            objects |= {each.row: read for each, read in kept}
        failed: dict[str, tuple[Failed, ...]] = {}
        for code in self._failed.kinds():
            rows = self._failed.of(code)
            failed[code] = tuple(
                Failed(row=row.number, message=message[:LONGEST_MESSAGE]) for row, message in rows
            )
            for row, _ in rows:
                objects[row.number] = SampledObject(
                    bucket=row.bucket, key=row.key, version_id=row.version_id, etag=row.etag
                )
        return Samples(
            objects=dict(sorted(objects.items())),
            scored={
                name: {label: tuple(bands) for label, bands in labels.items()}
                for name, labels in scored.items()
            },
            failed=dict(sorted(failed.items())),
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample as a report shows it. ``score`` and ``decision`` are those of the label and the
    label set that it was drawn for; of a failed row, ``message`` says why."""

    shard: int
    row: int
    object: SampledObject
    score: float | None = None
    decision: str | None = None
    message: str | None = None


class JobSamples:
    """The samples of a job, put together from those of its shards."""

    def __init__(self) -> None:
        self._scored: _Smallest[tuple[str, str, int], Shown] = _Smallest(PER_BAND)
        self._failed: _Smallest[str, Shown] = _Smallest(PER_CODE)

    def add(self, shard: int, samples: Samples) -> None:
        for name, labels in samples.scored.items():
            for label, bands in labels.items():
                for band, kept in enumerate(bands):
                    for each in kept:
                        found = samples.objects.get(each.row)
                        number = lot(shard, each.row)
                        if found is not None and self._scored.wants((name, label, band), number):
                            shown = Shown(shard, each.row, found, each.score, each.decision)
                            self._scored.add((name, label, band), number, shown)
        for code, failed in samples.failed.items():
            for one in failed:
                found = samples.objects.get(one.row)
                number = lot(shard, one.row)
                if found is not None and self._failed.wants(code, number):
                    shown = Shown(shard, one.row, found, message=one.message)
                    self._failed.add(code, number, shown)

    def scored(self, label_set: str, label: str, band: int) -> list[Shown]:
        return self._scored.of((label_set, label, band))

    def failed(self, code: str) -> list[Shown]:
        return self._failed.of(code)


def band_of(score: float) -> int:
    return min(BANDS - 1, int(score * BANDS))


def lot(shard: int, row: int) -> int:
    """The row's number in the draw: the same in each attempt, and unlike its neighbours'."""
    digest = hashlib.blake2b(f"{shard}/{row}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def lots(shard: int, rows: Iterable[int]) -> npt.NDArray[np.uint64]:
    """The numbers of many rows, sooner: [rows]."""
    of_shard = hashlib.blake2b(f"{shard}/".encode(), digest_size=8)

    def digest(row: int) -> bytes:
        # A copy of what all rows begin with takes half the time of a new hash.
        of_row = of_shard.copy()
        of_row.update(b"%d" % row)
        return of_row.digest()

    return np.frombuffer(b"".join(map(digest, rows)), ">u8").astype(np.uint64)
