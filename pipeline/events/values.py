"""The values of the published events, every field once, with its meaning.

They are ``TypedDict``: the type checker and the tests hold the builder to them, and building one
costs no more than a plain dict. The JSON Schemas in ``docs/schemas`` are generated from them.

Within a type's major version fields are only added, and only as ``NotRequired``; any other change
is a new type, published beside the old one.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

_described = with_config(ConfigDict(use_attribute_docstrings=True))

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


@_described
class ReferenceValue(TypedDict):
    """The reference as it was read, with what its route decided."""

    uri: str
    """`s3://bucket/key`, the key as it is stored, with nothing escaped."""
    bucket: str
    """Bucket of the object."""
    key: str
    """Key of the object, as it is stored."""
    version_id: str | None
    """Version that the reference asked for."""
    etag: str | None
    """ETag that the reference asked for, without quotes."""
    id: str | None
    """The sender's own id of the image."""
    tenant: str | None
    """Tenant that the route decided."""
    metadata: dict[str, Any]
    """The sender's metadata, carried through unread."""


@_described
class ObjectValue(TypedDict):
    """The bytes that were looked at."""

    etag: str | None
    """ETag of the object as it was read, without quotes."""
    version_id: str | None
    """Version that was read; null in a bucket without versions."""
    sha256: Sha256
    """SHA-256 of the bytes as they are stored, lower-case hexadecimal."""
    size_bytes: Count
    """Number of bytes as they are stored, with a Content-Encoding not undone."""


@_described
class ImageValue(TypedDict):
    """The image in those bytes."""

    format: str
    """Format by content, not by name: `JPEG`, `PNG`, `WEBP`, ..."""
    width: Count
    """Width in pixels, after the EXIF orientation."""
    height: Count
    """Height in pixels, after the EXIF orientation."""
    frames: Count
    """Frames of an animation, 1 for a still. Only the first was looked at."""
    cropped_share: Share
    """Share of the image's area that the model did not see, because it sees a centred square."""


@_described
class ModelValue(TypedDict):
    """What computed the embedding."""

    name: str
    """The checkpoint's name."""
    revision: str
    """Commit of the model hub, or `sha256:...` over the files of a local directory."""
    dimension: Count
    """Length of the embedding."""
    logit_scale: float
    """Factor between a similarity and a logit."""
    precision: str
    """Arithmetic of the image tower: `fp32`, `bf16`, `int8`, ..."""
    engine: str
    """What ran it: `torch-cpu`, `torch-cuda`, `openvino-cpu:` and the calibration's hash, ..."""


@_described
class ScoreValue(TypedDict):
    """One label's score."""

    label: str
    """Name of the label."""
    score: Share
    """Probability by the label set's rule, 0 to 1, unrounded."""
    similarity: Cosine
    """Cosine between image and label, unrounded."""


@_described
class ResultValue(TypedDict):
    """What one label set says of the image."""

    label_set: str
    """Name of the label set."""
    version: str
    """Content hash of the label set."""
    decision: str
    """Most severe action of the matched labels, else the set's default; never performed."""
    matched: list[str]
    """Labels at or above a threshold."""
    scores: list[ScoreValue]
    """Every label of the set, in the set's order."""


@_described
class PositionValue(TypedDict):
    """Where the reference came from."""

    topic: str
    """Input topic."""
    partition: Count
    """Partition of the input topic."""
    offset: Count
    """Offset of the record."""
    index: Count
    """Place among the record's references, from 0."""


@_described
class ClassificationValue(TypedDict):
    """One classified image: the value of a `clipstream.classification.v1` event."""

    reference: ReferenceValue
    """What was asked for."""
    object: ObjectValue
    """What the store returned."""
    image: ImageValue
    """What the decoder found."""
    model: ModelValue
    """What looked at it."""
    results: list[ResultValue]
    """One entry a label set, in the order that the route or the reference names them."""
    decode_mode: str
    """How the pixels were brought to the model's size: see `decode.mode` in the settings."""
    decode_crop: NotRequired[str]
    """Where the model's square was cut out: see `decode.crop` in the settings. Absent in events of
    versions that knew `transformers` alone."""
    position: PositionValue
    """Where the reference came from."""
    record_timestamp: Timestamp | None
    """Timestamp of the input record, RFC 3339 in UTC with milliseconds; null if it has none."""
    clipstream_version: str
    """Version that wrote the event."""


@_described
class AskedValue(TypedDict):
    """What the sender of the reference asked for, before a route decided."""

    label_sets: list[str]
    """Label sets that were asked for, usually none."""
    tenant: NotRequired[str]
    """Tenant that was named."""


@_described
class DeadReferenceValue(TypedDict):
    """A reference that could not be classified: the value of a `clipstream.dead-letter.v1` event
    whose header `dlq.payload` is `reference`.

    It is of the native input format, so that it can be published to an input topic as it stands.
    What is not known is left out.
    """

    bucket: str
    """Bucket of the object."""
    key: str
    """Key of the object, as it is stored."""
    label_sets: list[str]
    """Label sets that the route decided; of a refused reference those asked for, perhaps none."""
    version_id: NotRequired[str]
    """Version that the reference asked for."""
    etag: NotRequired[str]
    """ETag that the reference asked for, without quotes."""
    id: NotRequired[str]
    """The sender's own id of the image."""
    tenant: NotRequired[str]
    """Tenant that the route decided; of a refused reference the one that it asked for."""
    metadata: NotRequired[dict[str, Any]]
    """The sender's metadata."""
    asked: NotRequired[AskedValue]
    """What the sender asked for, which `clipstream replay` asks for again; absent in letters of
    releases that did not write it. As a field of an input record it means nothing."""
