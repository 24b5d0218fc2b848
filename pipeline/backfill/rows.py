"""A row of a plan: one object to classify, whatever it was read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from pipeline.formats.reference import Reference
from pipeline.records import NO_JSON, Asked, ImageRef, JsonValue

DIGEST = "[0-9a-fA-F]{32}(-[0-9]+)?"
"""ETags that are made of an object's bytes: an MD5, or that of the parts of an upload with their
number. Stores that make ETags of times or of names write them otherwise."""

_is_digest = re.compile(DIGEST).fullmatch


@dataclass(frozen=True, slots=True)
class PlanRow:
    """``number`` is the row's place in its shard, from 0: with the job and the shard it is the
    row's identity. ``version_id`` is read exactly; without one, ``etag`` must still be the
    object's. ``label_sets`` are asked for, as by a message of the stream. ``truth`` are labels that
    a person gave the image; None if nobody did."""

    number: int
    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: int | None = None
    id: str | None = None
    tenant: str | None = None
    label_sets: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] = field(default_factory=lambda: NO_JSON)
    truth: tuple[str, ...] | None = None

    @property
    def erased(self) -> bool:
        """Whether the row is only a place: its object was erased from the job's files."""
        return not self.key

    @property
    def content(self) -> tuple[object, ...]:
        """Equal in rows whose objects have the same bytes: they have one digest and one size, or
        they are one object."""
        if self.etag is not None and self.size_bytes is not None and _is_digest(self.etag):
            return self.etag, self.size_bytes
        return self.bucket, self.key, self.version_id, self.etag

    @property
    def reference(self) -> Reference:
        """What a route decides about."""
        return Reference(
            self.bucket,
            self.key,
            self.version_id,
            self.etag,
            self.id,
            self.tenant,
            self.label_sets,
            self.metadata,
        )

    def ref(self, label_sets: tuple[str, ...], tenant: str | None) -> ImageRef:
        """The reference with what its route decided. What the plan asked for stands beside it."""
        return ImageRef(
            self.bucket,
            self.key,
            label_sets,
            self.version_id,
            self.etag,
            self.id,
            tenant,
            self.metadata,
            Asked(self.label_sets, self.tenant),
        )


def rows_by_content(rows: Iterable[PlanRow], *, together: bool) -> Iterator[list[PlanRow]]:
    """The rows that are left, in their order. ``together``: neighbours with the same content come
    in one list. Else each row comes alone."""
    left = (row for row in rows if not row.erased)
    if not together:
        return ([row] for row in left)
    return (list(group) for _, group in groupby(left, lambda row: row.content))
