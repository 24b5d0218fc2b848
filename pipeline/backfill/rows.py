"""A row of a plan: one object to classify, whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.formats.reference import Reference
from pipeline.records import NO_JSON, Asked, ImageRef, JsonValue


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
