"""Reads published events again, as their consumers have them: for whoever checks or compares
them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Self

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pipeline.complaints import first_said
from pipeline.content import content_id
from pipeline.errors import Halt
from pipeline.events.values.outcomes import (
    ImageValue,
    MatchValue,
    ModelValue,
    ObjectValue,
    ResultValue,
    ViewValue,
)
from pipeline.records import ImageFacts, LabelScore, LabelSetResult, Looked, ModelIdentity
from pipeline.records.known import KnownMatch
from pipeline.records.views import LookedViews, View


class _Needed(TypedDict):
    """The fields that all events of classified images have."""

    object: ObjectValue
    image: ImageValue
    model: ModelValue
    results: list[ResultValue]
    views: NotRequired[list[ViewValue]]
    matches: NotRequired[list[MatchValue]]
    decode_mode: str


_needed = TypeAdapter(_Needed)

_EDGES: tuple[Literal["left", "top", "right", "bottom"], ...] = ("left", "top", "right", "bottom")


@dataclass(frozen=True, slots=True)
class ClassificationEvent:
    """What an event says of a classified image: of the stream, of a backfill, or over HTTP.

    ``headers`` are those of its record, empty if they are not at hand. ``decode_crop`` and
    ``content_id`` are None in events of versions that did not write them.
    """

    uri: str | None
    object: ObjectValue
    image: ImageFacts
    model: ModelIdentity
    results: tuple[LabelSetResult, ...]
    views: tuple[ViewValue, ...]
    matches: tuple[KnownMatch, ...]
    decode_mode: str
    decode_crop: str | None
    content_id: str | None
    headers: Mapping[str, str]

    @classmethod
    def of(cls, value: Any, headers: Mapping[str, str]) -> Self:
        """Read an event's value, decoded from JSON.

        Raises:
            Halt: ``event.unreadable``.
        """
        try:
            needed = _needed.validate_python(value)
        except ValidationError as error:
            raise Halt(
                "event.unreadable",
                f"no classification event: {first_said(error, 'the value')}; give the event of a "
                "classified image, as it was published",
            ) from error
        reference = value.get("reference", value)
        uri = reference.get("uri") if isinstance(reference, dict) else None
        results = tuple(
            LabelSetResult(
                label_set=each["label_set"],
                version=each["version"],
                scores=tuple(
                    LabelScore(
                        score["label"],
                        score["score"],
                        score["similarity"],
                        score.get("view"),
                        score.get("probability"),
                    )
                    for score in each["scores"]
                ),
                matched=tuple(each["matched"]),
                decision=each["decision"],
                raised=tuple(each.get("raised", ())),
                labels_decision=each.get("labels_decision"),
                shadow=each.get("shadow", False),
            )
            for each in needed["results"]
        )
        return cls(
            uri=uri,
            object=needed["object"],
            image=_image(needed["image"]),
            model=_model(needed["model"]),
            results=results,
            views=tuple(needed.get("views", ())),
            matches=tuple(map(_match, needed.get("matches", ()))),
            decode_mode=needed["decode_mode"],
            decode_crop=value.get("decode_crop"),
            content_id=value.get("content_id"),
            headers=headers,
        )

    def looked(self, embedding: npt.NDArray[np.floating]) -> Looked:
        """What the model saw, with the published embedding.

        Raises:
            Halt: ``event.unreadable``: the event lists views without their embeddings.
        """
        return Looked(
            embedding,
            self.model,
            self.image,
            self.object["sha256"],
            self.object["size_bytes"],
            self.decode_mode,
            self.decode_crop or "",
            self._looked_views(embedding.dtype) if self.views and embedding.size else None,
        )

    def _looked_views(self, dtype: np.dtype[Any]) -> LookedViews:
        try:
            encoded = [base64.b64decode(view["embedding"], validate=True) for view in self.views]
            embeddings = np.stack([np.frombuffer(each, dtype) for each in encoded])
        except (KeyError, ValueError) as error:
            raise Halt(
                "event.unreadable",
                "the event lists several views, and not the embedding of each, which its scores "
                "follow from; publish embeddings (events.embeddings) to explain such events",
            ) from error
        places = tuple(
            View(each["kind"], each["frame"], *(each[edge] for edge in _EDGES))
            for each in self.views
        )
        return LookedViews(places, embeddings)

    @property
    def expected_content_id(self) -> str | None:
        """The content id of what the event says, None for one without a decode crop."""
        if self.decode_crop is None:
            return None
        looked = self.looked(np.empty(0, np.float32))
        return content_id(looked, self.uri, self.object["etag"], self.object["version_id"])

    @property
    def id(self) -> str | None:
        return self.headers.get("ce_id")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingEvent:
    """A published embedding [dimension], float32 or float16. ``headers`` are those of its record,
    empty if they are not at hand."""

    vector: npt.NDArray[np.floating]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, value: bytes, headers: Mapping[str, str], dimension: int | None = None) -> Self:
        """Read an embedding. Without headers, ``dimension`` tells its type by its size.

        Raises:
            Halt: ``event.unreadable``.
        """
        if dimension is None or "embedding.dimension" in headers:
            told = headers.get("embedding.dimension", "")
            dimension = int(told) if told.isdecimal() else 0
        sizes = {4 * dimension: "<f4", 2 * dimension: "<f2"}
        dtype = sizes.get(len(value)) if value else None
        named = headers.get("embedding.dtype")
        if dtype is None or named not in (None, np.dtype(dtype).name):
            raise Halt(
                "event.unreadable",
                f"no embedding: {len(value)} bytes (headers: {named or 'no'} dtype, dimension "
                f"{dimension or 'unknown'}); give the raw value of an embedding event",
            )
        vector = np.frombuffer(value, dtype)
        if not np.isfinite(vector).all():
            raise Halt("event.unreadable", "no embedding: it has values that are not finite")
        return cls(vector, headers)


def _model(value: ModelValue) -> ModelIdentity:
    return ModelIdentity(
        value["name"],
        value["revision"],
        value["dimension"],
        value["logit_scale"],
        value["precision"],
        value["engine"],
    )


def _match(value: MatchValue) -> KnownMatch:
    return KnownMatch(
        value["list"],
        value["version"],
        value["kind"],
        value["action"],
        value["entry"],
        value.get("distance"),
        value.get("cosine"),
    )


def _image(value: ImageValue) -> ImageFacts:
    return ImageFacts(
        value["format"],
        value["width"],
        value["height"],
        value["frames"],
        value["cropped_share"],
        value.get("frames_seen", 1),
    )


def as_text(headers: tuple[tuple[str, bytes | None], ...]) -> dict[str, str]:
    """The headers of a record, by name. Of a repeated header the last value counts."""
    return {name: (value or b"").decode(errors="replace") for name, value in headers}


def contradictions(event: ClassificationEvent, embedding: EmbeddingEvent) -> list[str]:
    """Sentences about what shows, before any score is derived, that the event was altered or that
    the embedding is not of its image."""
    found = []
    if event.content_id is not None and event.expected_content_id not in (None, event.content_id):
        found.append(
            f"the event was altered: its content_id is {event.content_id}, and its object, model "
            f"and decode mode have {event.expected_content_id}"
        )
    model, headers = event.model, embedding.headers
    if len(embedding.vector) != model.dimension:
        found.append(
            f"the embedding has {len(embedding.vector)} elements, and the event's model has "
            f"{model.dimension}"
        )
    for header, expected in (
        ("classification.id", event.id),
        ("object.sha256", event.object["sha256"]),
        ("model.name", model.name),
        ("model.revision", model.revision),
        ("model.precision", model.precision),
        ("content.id", event.content_id),
    ):
        there = headers.get(header)
        if there is not None and expected is not None and there != expected:
            found.append(
                f"the embedding is of another event: its {header} is {there}, and the event has "
                f"{expected}"
            )
    return found
