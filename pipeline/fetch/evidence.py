"""Evidence that a store serves: what it has answered, and which objects to ask it about again."""

from __future__ import annotations

from collections import OrderedDict

from pipeline.records import ImageRef

_BUCKETS = 64
"""Buckets whose objects are remembered. The bucket that was read longest ago is forgotten first."""


class Answers:
    """The two latest attempts, on two different objects, that the store answered.

    With two objects, at least one of them is always another than any given object.
    """

    def __init__(self) -> None:
        self._latest: tuple[tuple[float, ImageRef], ...] = ()

    def __bool__(self) -> bool:
        """Whether the store has answered anything yet."""
        return bool(self._latest)

    @property
    def objects(self) -> tuple[ImageRef, ...]:
        """The objects, latest first."""
        return tuple(ref for _, ref in self._latest)

    def add(self, ref: ImageRef, begun: float) -> None:
        """The store answered an attempt on ``ref`` that began at ``begun`` (monotonic seconds)."""
        if len(self._latest) == 2 and begun <= self._latest[1][0]:
            return  # Neither of the two would change: both attempts began at this time or later.
        same = [entry for entry in self._latest if same_object(entry[1], ref)]
        others = [entry for entry in self._latest if not same_object(entry[1], ref)]
        newest = max([*same, (begun, ref)], key=lambda entry: entry[0])
        ordered = sorted([*others, newest], key=lambda entry: entry[0], reverse=True)
        self._latest = tuple(ordered[:2])

    def since(self, moment: float, ref: ImageRef) -> bool:
        """Whether an attempt on another object, begun at ``moment`` or later, was answered."""
        return any(begun >= moment and not same_object(other, ref) for begun, other in self._latest)


class Witnesses:
    """The two objects of each bucket that were read last. Reading one of them again shows whether
    the bucket can be read."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[ImageRef, ...]] = OrderedDict()

    def add(self, ref: ImageRef) -> None:
        """The object's bytes have arrived."""
        kept = self._buckets.get(ref.bucket, ())
        if not kept or not same_object(kept[0], ref):
            kept = (ref, *(other for other in kept if not same_object(other, ref)))[:2]
            self._buckets[ref.bucket] = kept
        self._buckets.move_to_end(ref.bucket)
        if len(self._buckets) > _BUCKETS:
            self._buckets.popitem(last=False)

    def of(self, bucket: str) -> tuple[ImageRef, ...]:
        """The bucket's objects, latest first."""
        return self._buckets.get(bucket, ())

    @property
    def latest(self) -> tuple[ImageRef, ...]:
        """The latest object of each bucket, starting with the bucket that was read last."""
        return tuple(kept[0] for kept in reversed(self._buckets.values()))


def same_object(one: ImageRef, other: ImageRef) -> bool:
    return one.full_key == other.full_key and one.bucket == other.bucket
