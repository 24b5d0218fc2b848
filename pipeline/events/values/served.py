"""The values of events about images that came over HTTP, as ``values`` has those of the stream."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

from pipeline.events.values.outcomes import (
    ContentId,
    Count,
    ImageValue,
    ModelValue,
    ObjectValue,
    ScoreValue,
    Sha256,
    ViewValue,
    described,
)


@described
class ServedRequestValue(TypedDict):
    """The request that an image came in. It holds nothing of the request's body."""

    id: str
    """The request's id: its header `x-request-id`, or one that the server made."""
    key: str
    """Name of the API key. `anybody` where no keys are configured."""
    route: str
    """Path of the route, such as `/v1/classify`."""
    index: Count
    """Place of the image in the request, from 0."""


@described
class ServedResultValue(TypedDict):
    """The result of one label set for a served image."""

    label_set: str | None
    """Name of the label set. null if the request brought labels of its own."""
    version: str
    """Version of the label set: `sha256:...` over its content."""
    decision: str
    """Most severe action of the matched labels. Without a match, the set's default action. Never
    less than the action of the set's `review_if`, if the image meets it. Clipstream never performs
    it."""
    matched: list[str]
    """Labels whose score is at or above one of their thresholds. Empty if the request brought
    labels of its own, because their names are the sender's text."""
    scores: list[ScoreValue]
    """The score of every label, in the label set's order. Empty if the request brought labels of
    its own."""
    raised: NotRequired[list[str]]
    """Conditions of the set's `review_if` that raised the decision: `cropped_share`, `frames`.
    Absent if the labels alone made the decision. New conditions may appear."""
    labels_decision: NotRequired[str]
    """The decision that the labels alone would have made. Absent if `raised` is."""
    shadow: NotRequired[bool]
    """true: the label set is tried out (`shadow: true`). Act on no decision of it. Otherwise
    absent."""


@described
class ServedImageValue(TypedDict):
    """One image that a request was answered for: the value of a `clipstream.served-image.v1`
    event."""

    request: ServedRequestValue
    """The request that the image came in."""
    uri: str | None
    """URI of the image, without the query of an `https://` URI. null if the image's bytes were in
    the request."""
    object: ObjectValue
    """The bytes that were looked at. `etag` and `version_id` are null for bytes of the request."""
    image: ImageValue
    """The image that the decoder found."""
    model: ModelValue
    """The model that looked at the image."""
    results: list[ServedResultValue]
    """One entry for each label set, in the order of the request. Empty if the request asked for
    an embedding only."""
    views: NotRequired[list[ViewValue]]
    """The parts of the image that the model saw, if there are several (`decode.views: all`). The
    first is the centred square of the first frame, whose embedding is the published one. A label's
    score is its largest over the views."""
    decode_mode: str
    """How the image was resized to the model's size: see `decode.mode` in the settings."""
    decode_crop: str
    """Where the model's square was cut out: see `decode.crop` in the settings."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
    content_id: NotRequired[ContentId]
    """Identity of the object as this model sees it, the same in the stream, over HTTP and in
    backfills. Absent in events of versions that did not write it."""


@described
class ServedErrorValue(TypedDict):
    """One image that a request was answered for with an error: the value of a
    `clipstream.served-error.v1` event."""

    request: ServedRequestValue
    """The request that the image came in."""
    uri: str | None
    """URI of the image, without the query of an `https://` URI. null if the image's bytes were in
    the request."""
    sha256: Sha256 | None
    """SHA-256 of the image's bytes, if they were in the request and could be looked at. null for an
    image with a URI."""
    code: str
    """Stable code, listed in codes.md. New codes may appear."""
    stage: str
    """Stage that gave up: the part of the code before the dot."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
