"""Outcomes of made-up references, for a commit window."""

from __future__ import annotations

from pipeline.commit.settled import Classified, DeadLettered
from pipeline.records import DeadLetter, ImageRef, Origin, OutputRecord, OutputTopic, Position

REF = ImageRef("uploads", "key", ("things",))


def classified(position: Position, payload: bytes = b"", *, index: int = 0) -> Classified:
    """Of the record's reference at ``index``, published as one record of the payload."""
    record = OutputRecord(OutputTopic.CLASSIFICATIONS, None, payload, ())
    return Classified(Origin(position, index, 0), (record,), REF, "review")


def dead_lettered(
    position: Position, code: str, payload: bytes = b"", *, ref: ImageRef | None = None
) -> DeadLettered:
    """Of the record's first reference, published as one record of the payload."""
    record = OutputRecord(OutputTopic.DEAD_LETTERS, None, payload, ())
    letter = DeadLetter(code, "message", attempts=1, ref=ref)
    return DeadLettered(Origin(position, 0, 0), (record,), letter)
