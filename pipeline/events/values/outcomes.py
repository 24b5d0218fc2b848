"""The values of the published events: every field once, with its meaning.

Each value is a ``TypedDict``. The type checker and the tests compare the builder with it, and
building one costs no more than a plain dict. The JSON Schemas in ``docs/schemas`` are generated
from these classes.

Within a type's major version, fields are only added, and only as ``NotRequired``. Any other change
makes a new type, which is published together with the old one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

described = with_config(ConfigDict(use_attribute_docstrings=True))

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ContentId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


@described
class ReferenceValue(TypedDict):
    """The reference as it was read, and the tenant that its route decided."""

    uri: str
    """`s3://bucket/key`. The key is as it is stored, without escapes."""
    bucket: str
    """Bucket of the object."""
    key: str
    """Key of the object, as it is stored."""
    version_id: str | None
    """Version that the reference asked for, or null."""
    etag: str | None
    """ETag that the reference asked for, without quotes, or null."""
    id: str | None
    """The sender's own id of the image, or null."""
    tenant: str | None
    """Tenant that the route decided, or null."""
    metadata: dict[str, Any]
    """The sender's metadata, copied without being read."""


@described
class ReferenceValueV2(TypedDict):
    """The reference as it was read, and the tenant that its route decided."""

    uri: str
    """`https://host/path`, without the query. The path is as it was sent, with its escapes."""
    bucket: NotRequired[str]
    """Bucket of the object. Absent for an image on a web server."""
    key: NotRequired[str]
    """Key of the object. Absent for an image on a web server."""
    etag: NotRequired[str]
    """ETag that the reference asked for, without quotes."""
    id: str | None
    """The sender's own id of the image, or null."""
    tenant: str | None
    """Tenant that the route decided, or null."""
    metadata: dict[str, Any]
    """The sender's metadata, copied without being read."""


@described
class ObjectValue(TypedDict):
    """The object whose bytes were classified."""

    etag: str | None
    """ETag of the object that was read, without quotes."""
    version_id: str | None
    """Version that was read. null in a bucket without versions."""
    sha256: Sha256
    """SHA-256 of the stored bytes, in lower-case hexadecimal."""
    size_bytes: Count
    """Number of stored bytes, before a Content-Encoding is undone."""


@described
class ImageValue(TypedDict):
    """The image in the object's bytes."""

    format: str
    """Format, recognised by content and not by name: `JPEG`, `PNG`, `WEBP`, ..."""
    width: Count
    """Width in pixels, after the image was turned upright."""
    height: Count
    """Height in pixels, after the image was turned upright."""
    frames: Count
    """Number of frames or pages; 1 for a single image. The model sees only the first, unless
    `frames_seen` says more."""
    cropped_share: Share
    """Share of the image's area, 0 to 1, that the model did not see. It sees a centred square, or
    the squares that `views` lists."""
    frames_seen: NotRequired[Count]
    """Number of frames that the model saw. Absent if it saw the first one alone."""


@described
class ModelValue(TypedDict):
    """The model that computed the embedding."""

    name: str
    """The checkpoint's name."""
    revision: str
    """Commit in the model hub, or `sha256:...` over the files of a local directory."""
    dimension: Count
    """Length of the embedding."""
    logit_scale: float
    """Factor from a similarity to a logit."""
    precision: str
    """Arithmetic of the image tower: `fp32`, `bf16`, `int8`, ..."""
    engine: str
    """What ran the model: `torch-cpu`, `torch-cuda`, `openvino-cpu:` and a calibration hash, ..."""


@described
class ScoreValue(TypedDict):
    """One label's score."""

    label: str
    """Name of the label."""
    score: Share
    """Score by the label set's rule, from 0 to 1, unrounded. Thresholds are about it."""
    similarity: Cosine
    """Cosine of the angle between image and label, from -1 to 1, unrounded. 0 for a label of a
    head, which compares with no vector."""
    view: NotRequired[Count]
    """Place in `views` of the view where the score is largest. Score and similarity are those of
    this view. Absent in events without `views`."""
    probability: NotRequired[Share]
    """What the label's calibration makes of the score, unrounded: the share of the images with this
    score that show the label. Absent if the label has no calibration."""


@described
class ViewValue(TypedDict):
    """One part of the image that the model saw. The edges are in pixels of the image, after it was
    turned upright, with fractions."""

    kind: Literal["centre", "tile"]
    """`centre`: the centred square of the frame. `tile`: another square along its longer side."""
    frame: Count
    """Number of the frame, from 0."""
    left: float
    """Left edge."""
    top: float
    """Top edge."""
    right: float
    """Right edge."""
    bottom: float
    """Bottom edge."""
    embedding: NotRequired[str]
    """Embedding of the view: little-endian values in base64, of the type that the embedding's event
    names in `embedding.dtype`. Absent if embeddings are not published."""


@described
class MatchValue(TypedDict):
    """A list of known pictures that has the image."""

    list: str
    """Name of the list."""
    version: str
    """Version of the list: `sha256:...` over its content."""
    kind: str
    """What was compared: `sha256`, `pdq` or `embedding`. New kinds may appear."""
    action: str
    """The list's action. Clipstream never performs it."""
    entry: Annotated[int, Field(ge=1)]
    """Number of the nearest entry in this version of the list, from 1."""
    distance: NotRequired[Count]
    """Number of bits, of 256, in which the PDQ hashes differ. Absent for other kinds."""
    cosine: NotRequired[Cosine]
    """Cosine between the embeddings. Of an image with several views, the largest. Absent for other
    kinds."""


@described
class ResultValue(TypedDict):
    """The result of one label set for the image."""

    label_set: str
    """Name of the label set."""
    version: str
    """Version of the label set: `sha256:...` over its content."""
    decision: str
    """Most severe action of the matched labels. Without a match, the set's default action. Never
    less than the action of the set's `review_if`, if the image meets it, and than the actions of
    `matches` that the set has. Clipstream never performs it."""
    matched: list[str]
    """Labels whose score is at or above one of their thresholds."""
    scores: list[ScoreValue]
    """The score of every label, in the label set's order."""
    raised: NotRequired[list[str]]
    """What raised the decision: conditions of the set's `review_if` (`cropped_share`, `frames`), or
    `known`: a list in `matches` calls for more. Absent if the labels alone made the decision. New
    conditions may appear."""
    labels_decision: NotRequired[str]
    """The decision that the labels alone would have made. Absent if `raised` is."""
    shadow: NotRequired[bool]
    """true: the label set is tried out (`shadow: true`). Act on no decision of it. Otherwise
    absent."""


@described
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


@described
class ClassificationValue(TypedDict):
    """One classified image: the value of a `clipstream.classification.v1` event."""

    reference: ReferenceValue
    """The reference and what it asked for."""
    object: ObjectValue
    """The object that the store returned."""
    image: ImageValue
    """The image that the decoder found."""
    model: ModelValue
    """The model that looked at the image."""
    results: list[ResultValue]
    """One entry for each label set, in the order of the route or of the reference."""
    views: NotRequired[list[ViewValue]]
    """The parts of the image that the model saw, if there are several (`decode.views: all`). The
    first is the centred square of the first frame, whose embedding is the published one. A label's
    score is its largest over the views."""
    decode_mode: str
    """How the image was resized to the model's size: see `decode.mode` in the settings."""
    decode_crop: NotRequired[str]
    """Where the model's square was cut out: see `decode.crop` in the settings. Absent in events of
    versions that only knew `transformers`."""
    position: PositionValue
    """Where the reference came from."""
    record_timestamp: Timestamp | None
    """Timestamp of the input record, RFC 3339 in UTC with milliseconds. null if it has none."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
    content_id: NotRequired[ContentId]
    """Identity of the object as this model sees it, the same in the stream, over HTTP and in
    backfills. Absent in events of versions that did not write it."""
    matches: NotRequired[list[MatchValue]]
    """Lists of known pictures that have the image. Absent if none has."""


@described
class ClassificationValueV2(TypedDict):
    """One classified image that a URI names: the value of a `clipstream.classification.v2`
    event."""

    reference: ReferenceValueV2
    """The reference and what it asked for."""
    object: ObjectValue
    """The file that the server returned."""
    image: ImageValue
    """The image that the decoder found."""
    model: ModelValue
    """The model that looked at the image."""
    results: list[ResultValue]
    """One entry for each label set, in the order of the route or of the reference."""
    views: NotRequired[list[ViewValue]]
    """The parts of the image that the model saw, if there are several (`decode.views: all`). The
    first is the centred square of the first frame, whose embedding is the published one. A label's
    score is its largest over the views."""
    decode_mode: str
    """How the image was resized to the model's size: see `decode.mode` in the settings."""
    decode_crop: str
    """Where the model's square was cut out: see `decode.crop` in the settings."""
    position: PositionValue
    """Where the reference came from."""
    record_timestamp: Timestamp | None
    """Timestamp of the input record, RFC 3339 in UTC with milliseconds. null if it has none."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
    content_id: NotRequired[ContentId]
    """Identity of the object as this model sees it, the same in the stream, over HTTP and in
    backfills. Absent in events of versions that did not write it."""
    matches: NotRequired[list[MatchValue]]
    """Lists of known pictures that have the image. Absent if none has."""


@described
class JobValue(TypedDict):
    """The row of a backfill that the image came from."""

    id: str
    """Id of the job."""
    shard: Count
    """Number of the shard in the job, from 0."""
    row: Count
    """Number of the row in the shard, from 0."""


@described
class BackfillClassificationValue(TypedDict):
    """One classified row of a backfill: the value of a `clipstream.backfill-classification.v1`
    event."""

    reference: ReferenceValue
    """The row of the manifest and what it asked for."""
    object: ObjectValue
    """The object that the store returned."""
    image: ImageValue
    """The image that the decoder found."""
    model: ModelValue
    """The model that looked at the image."""
    results: list[ResultValue]
    """One entry for each label set, in the order of the results' columns."""
    views: NotRequired[list[ViewValue]]
    """The parts of the image that the model saw, if there are several (`decode.views: all`). The
    first is the centred square of the first frame, whose embedding is the published one. A label's
    score is its largest over the views."""
    decode_mode: str
    """How the image was resized to the model's size: see `decode.mode` in the settings."""
    decode_crop: str
    """Where the model's square was cut out: see `decode.crop` in the settings."""
    job: JobValue
    """The row that the image came from."""
    record_timestamp: Timestamp | None
    """Always null: a row has no timestamp. As in `clipstream.classification.v1`."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
    content_id: ContentId
    """Identity of the object as this model sees it, the same in the stream, over HTTP and in
    backfills."""
