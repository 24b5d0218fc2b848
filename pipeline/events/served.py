"""Makes the records to publish for the images of an HTTP request.

Everything in a record comes from the request and its answer. Nothing comes from a clock or a random
source, so a request that is sent again under its id repeats its events. No record holds bytes of an
image, or text that the sender wrote for the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.content import content_id
from pipeline.errors import Code
from pipeline.events.builder import EventsPolicy
from pipeline.events.envelope import TextHeaders, named_id, own_attributes, text
from pipeline.events.parts import (
    as_bytes,
    as_json,
    embedding_headers,
    image_value,
    json_content,
    model_value,
    object_value,
    result_value,
    views_value,
)
from pipeline.events.schemas import SERVED_ERROR_SCHEMA, SERVED_IMAGE_SCHEMA
from pipeline.events.types import EventType
from pipeline.events.values.served import (
    ServedErrorValue,
    ServedImageValue,
    ServedRequestValue,
    ServedResultValue,
)
from pipeline.records import EventRecord, LabelSetResult, Looked

SOURCE = b"/clipstream/serve"


@dataclass(frozen=True, slots=True)
class ServedImage:
    """One image of a request, and where it came from.

    ``key`` is the name of the API key. ``index`` is the image's place in the request, from 0.
    ``uri`` is None for bytes of the request, and ``sha256`` is their hash, if it is known.
    """

    request_id: str
    key: str
    route: str
    index: int
    uri: str | None
    sha256: str | None

    @property
    def subject(self) -> str | None:
        if self.uri is None and self.sha256 is not None:
            return f"sha256:{self.sha256}"
        return self.uri

    def event_id(self, event_type: EventType) -> str:
        """The UUIDv5 of one event of this image. The subject is part of the name, because a sender
        may use one request id for several requests."""
        return named_id(self.key, self.request_id, self.route, self.index, self.subject, event_type)


class ServedEvents:
    """Builds the events of served images. Pure, thread-safe, never blocks."""

    def __init__(self, policy: EventsPolicy, version: str) -> None:
        """``version`` is the version of Clipstream."""
        self._policy = policy
        self._version = version

    def looked_at(
        self,
        image: ServedImage,
        looked: Looked,
        results: Sequence[LabelSetResult],
        *,
        own_labels: bool = False,
        etag: str | None = None,
        version_id: str | None = None,
    ) -> tuple[EventRecord, ...]:
        """The events of an image that was looked at. ``own_labels`` says that the request brought
        the labels: their names are the sender's text, and are left out."""
        own_id = image.event_id(EventType.SERVED_IMAGE)
        content = content_id(looked, image.uri, etag, version_id)
        value: ServedImageValue = {
            "request": _request(image),
            "uri": image.uri,
            "object": object_value(looked, etag, version_id),
            "image": image_value(looked.image),
            "model": model_value(looked.model),
            "results": [_result(result, own_labels) for result in results],
            "decode_mode": looked.decode_mode,
            "decode_crop": looked.decode_crop,
            "clipstream_version": self._version,
            "content_id": content,
        }
        if looked.views is not None:
            embeddings = self._policy.embeddings
            value["views"] = views_value(looked.views, embeddings=embeddings)
        headers = (
            *_attributes(image, EventType.SERVED_IMAGE, own_id),
            *json_content(SERVED_IMAGE_SCHEMA),
        )
        served = EventRecord(_key(image), as_json(value), headers)
        if not self._policy.embeddings:
            return (served,)
        return (served, self._embedding(image, looked, own_id, content))

    def failed(self, image: ServedImage, code: str) -> EventRecord:
        """The event of an image that was answered with an error."""
        value: ServedErrorValue = {
            "request": _request(image),
            "uri": image.uri,
            "sha256": image.sha256,
            "code": code,
            "stage": Code.stage(code),
            "clipstream_version": self._version,
        }
        kind = EventType.SERVED_ERROR
        headers = (
            *_attributes(image, kind, image.event_id(kind)),
            *json_content(SERVED_ERROR_SCHEMA),
        )
        return EventRecord(_key(image), as_json(value), headers)

    def _embedding(
        self, image: ServedImage, looked: Looked, image_id: str, content: str
    ) -> EventRecord:
        kind, vector = EventType.SERVED_EMBEDDING, looked.embedding
        headers = (
            *_attributes(image, kind, image.event_id(kind)),
            ("content-type", b"application/octet-stream"),
            ("image.id", text(image_id)),
            *embedding_headers(
                looked.model, vector.dtype, vector.size, looked.decode_mode, looked.decode_crop
            ),
            ("object.sha256", text(looked.sha256)),
            ("clipstream.version", text(self._version)),
            ("content.id", text(content)),
        )
        return EventRecord(_key(image), as_bytes(vector), headers)


def _key(image: ServedImage) -> bytes:
    """The request's id: events of one request keep their order."""
    return text(image.request_id)


def _attributes(image: ServedImage, kind: EventType, own_id: str) -> TextHeaders:
    return own_attributes(kind, SOURCE, own_id, image.subject)


def _request(image: ServedImage) -> ServedRequestValue:
    return {
        "id": image.request_id,
        "key": image.key,
        "route": image.route,
        "index": image.index,
    }


def _result(result: LabelSetResult, own_labels: bool) -> ServedResultValue:
    if not own_labels:
        return {**result_value(result)}
    return {
        "label_set": None,
        "version": result.version,
        "decision": result.decision,
        "matched": [],
        "scores": [],
    }
