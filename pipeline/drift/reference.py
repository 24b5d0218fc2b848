"""The reference: what scores, decisions and embeddings were like when somebody said that all is
well. A small file, which `clipstream drift reference` writes."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.complaints import first_said
from pipeline.errors import Halt
from pipeline.records import ModelIdentity

Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LabelReference(_Part):
    """One label's scores. Bin ``i`` has the scores from ``edges[i - 1]`` on, up to, without,
    ``edges[i]``; the first and the last bin have no end. ``counts`` are the images in each bin, and
    none is 0."""

    name: str
    edges: tuple[float, ...]
    counts: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _bins_fit(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{self.name}: {len(self.edges)} edges and {len(self.counts)} bins")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError(f"{self.name}: the edges do not ascend")
        return self


class SetReference(_Part):
    """One version of a label set, on so many ``images``. ``first`` and ``last`` are the times of
    the window, None for images without times. ``decisions`` counts images by action. ``mean`` is
    the mean of their embeddings, and ``spread`` the root of their mean squared distance from it."""

    name: str
    version: str
    source: str
    images: Annotated[int, Field(gt=0)]
    first: str | None
    last: str | None
    labels: tuple[LabelReference, ...]
    decisions: dict[str, Count]
    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    spread: Annotated[float, Field(ge=0)]


class ModelReference(_Part):
    """The model that embedded the images."""

    name: str
    revision: str


class Reference(_Part):
    """A reference file."""

    type: Literal["clipstream.drift-reference.v1"] = "clipstream.drift-reference.v1"
    model: ModelReference
    label_sets: tuple[SetReference, ...]

    @classmethod
    def read(cls, text: bytes, where: str) -> Self:
        """
        Raises:
            Halt: ``drift.invalid``.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise Halt(
                "drift.invalid",
                f"{where}: is no reference: {first_said(error, 'the file')}; write it anew with "
                "`clipstream drift reference`",
            ) from error

    @property
    def text(self) -> str:
        """The file's content."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def id(self) -> str:
        """Tells one reference from another in metrics."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def unfit(self, name: str, version: str, model: ModelIdentity) -> str | None:
        """Why it says nothing about a label set in force, None if it does."""
        if (self.model.name, self.model.revision) != (model.name, model.revision):
            return f"is of the model {self.model.name} at revision {self.model.revision}"
        versions = [each.version for each in self.label_sets if each.name == name]
        if version in versions:
            return None
        return f"is of version {versions[0]}" if versions else "has no such label set"

    def of(self, version: str) -> SetReference:
        """The reference of a version that is there."""
        return next(each for each in self.label_sets if each.version == version)
