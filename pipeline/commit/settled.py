"""What became of a reference, as the commit window keeps it until it is committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.records import DeadLetter, ImageRef, Origin, OutputRecord, Record


@dataclass(frozen=True, slots=True)
class Classified:
    """A classified image, ready to publish. ``ref`` and ``unclassified_action`` say what it was,
    should ``records`` prove too large."""

    origin: Origin
    records: tuple[OutputRecord, ...]
    ref: ImageRef
    unclassified_action: str
    size_bytes: int = field(init=False, repr=False, compare=False)
    """Of the records."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", sum(record.size_bytes for record in self.records))


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A dead letter, ready to publish. ``letter`` and ``record`` are what ``records`` was made of,
    should it prove too large."""

    origin: Origin
    records: tuple[OutputRecord, ...]
    letter: DeadLetter
    record: Record | None = None
    size_bytes: int = field(init=False, repr=False, compare=False)
    """Of the records."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_bytes", sum(record.size_bytes for record in self.records))


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A skip, of which nothing is published."""

    origin: Origin
    reason: str

    @property
    def records(self) -> tuple[OutputRecord, ...]:
        return ()

    @property
    def size_bytes(self) -> int:
        return 0


Settled = Classified | DeadLettered | PassedOver
"""What became of one reference."""
