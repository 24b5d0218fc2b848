"""What became of a reference, as the commit window keeps it until it is committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.ports import UNTRACED, ImageTrace
from pipeline.records import DeadLetter, ImageRef, Origin, OutputRecord, Record
from pipeline.records.known import KnownMatch


@dataclass(frozen=True, slots=True)
class _Published:
    """An outcome with records to publish."""

    origin: Origin
    records: tuple[OutputRecord, ...]
    size_bytes: int = field(init=False, repr=False, compare=False)
    """Size of the records."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", sum(record.size_bytes for record in self.records))


@dataclass(frozen=True, slots=True)
class Classified(_Published):
    """A classified image, ready to publish. ``ref``, ``unclassified_action`` and ``matches`` serve
    to make a dead letter if ``records`` turn out too large."""

    ref: ImageRef
    unclassified_action: str
    trace: ImageTrace = field(default=UNTRACED, repr=False, compare=False)
    matches: tuple[KnownMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLettered(_Published):
    """A dead letter, ready to publish. ``records`` was made from ``letter`` and ``record``, which
    serve to make it again if it turns out too large."""

    letter: DeadLetter
    record: Record | None = None
    trace: ImageTrace = field(default=UNTRACED, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A skipped reference. Nothing is published for it but the removal of its object, if removals
    are published."""

    origin: Origin
    reason: str
    records: tuple[OutputRecord, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(record.size_bytes for record in self.records)

    @property
    def trace(self) -> ImageTrace:
        return UNTRACED


Settled = Classified | DeadLettered | PassedOver
"""The outcome of one reference."""
