"""The domain's types: inputs, outcomes, and where each comes from. Read ``views`` for the parts of
a file that a model looks at, ``known`` for lists of known pictures, ``progress`` for how far a
group has come in a partition, and ``event`` for what is published beside outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NewType

import numpy as np
import numpy.typing as npt

from pipeline.records.event import EventRecord as EventRecord
from pipeline.records.known import KnownMatch, PdqHash
from pipeline.records.views import DecodedViews, LookedViews, Published

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]

Pixels = npt.NDArray[np.uint8]
"""uint8 RGB, C-contiguous, [height, width, 3] for one image or [batch, height, width, 3]."""

Vector = npt.NDArray[np.float32]
"""float32, [dimension] or [count, dimension]; embeddings are of unit length."""

EmbeddingDtype = Literal["float32", "float16"]
"""Element types of published embeddings."""

Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka record headers in order. Names may repeat, and a value may be null."""

NO_JSON: Mapping[str, JsonValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A partition of an input topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The place of a record."""

    partition: Partition
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Record:
    """A consumed Kafka record: uninterpreted bytes."""

    position: Position
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


REPLAY_OF = "replay.of"
REPLAY_COUNT = "replay.count"
"""Headers of the records of `clipstream replay`, and of the events of their outcomes."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Says that a record repeats the dead letter with the event id ``of``. ``count`` says how often
    its reference has been replayed, from 1."""

    of: str
    count: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The identity of a reference in a stream: the place of its record, and what its outcome keeps
    of the record.

    ``index`` is the reference's place among the record's references, from 0. ``tracestate`` is of
    the sender's trace and in no event.
    """

    position: Position
    index: int
    timestamp_ms: int
    key: bytes | None = None
    traceparent: str | None = None
    replay: Replay | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sender of a reference asked for, before a route decided. Most senders ask for
    nothing."""

    label_sets: tuple[str, ...] = ()
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Names an object to classify, and how, but never where the reference came from.

    ``label_sets`` was decided by a route and is not empty. There is one exception: in the dead
    letter of a reference that the routes refused, ``label_sets`` and ``tenant`` are what the sender
    asked for, and may be empty. ``asked`` is what the sender asked for, or None if that is not
    known. ``metadata`` is the sender's and is passed on unread. ``scheme`` and ``bucket`` decide
    which store has the object.

    Of an ``https`` URL, ``bucket`` is the host and ``key`` the path, as it was sent. ``query`` is
    part of what is fetched and may hold a signature. It belongs in a dead letter's value alone, and
    in no other event, message, log line or metric.
    """

    bucket: str
    key: str
    label_sets: tuple[str, ...]
    version_id: str | None = None
    etag: str | None = None
    id: str | None = None
    tenant: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=lambda: NO_JSON)
    asked: Asked | None = None
    scheme: str = "s3"
    query: str | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """The object's URI, without the query."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def full_key(self) -> str:
        """The key that the store is asked for: with the query. A path has no question mark."""
        return self.key if self.query is None else f"{self.key}?{self.query}"

    @property
    def subject(self) -> str:
        """The sender's id, else the URI: the CloudEvents subject of the outcome."""
        return self.id if self.id is not None else self.uri


@dataclass(frozen=True, slots=True)
class Removal:
    """An object that its store has deleted, as the notification says.

    ``version_id`` is the version that was deleted; ``null`` is a version, too. None: the whole
    object, for whoever names no version. ``event`` is the store's name of the event.
    ``notification_id`` is the sender's id of the notification. ``removed_at`` is RFC 3339 in UTC.
    ``tenant`` is what the object's route decides.
    """

    bucket: str
    key: str
    event: str
    version_id: str | None = None
    notification_id: str | None = None
    removed_at: str | None = None
    tenant: str | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record, or one entry of it, without anything to classify. Decided without I/O.

    ``reason`` is one of a small closed set (a metric label): see ``pipeline.references``.
    ``removal`` is what a deletion says, if it is to be published.
    """

    reason: str
    removal: Removal | None = None


@dataclass(frozen=True, slots=True)
class ObjectBody:
    """An object as the store keeps it. ``etag`` is unquoted. ``content_encoding`` is the header's
    text; ``body`` still has these codings."""

    body: bytes
    etag: str | None
    version_id: str | None
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """The size that a model reads: the shortest edge is resized to ``resize``, then a centred
    square of ``crop`` pixels is cut. The resampling filter is bicubic with antialiasing, as CLIP
    was trained."""

    resize: int
    crop: int


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an event says about the original image.

    ``width`` and ``height`` are those after its EXIF orientation. ``frames`` counts an animation's
    frames (1 for a still), and ``frames_seen`` those that the model looks at. ``cropped_share`` is
    the share of the area of these frames that the model does not see, 0 to 1.
    """

    format: str
    width: int
    height: int
    frames: int
    cropped_share: float
    frames_seen: int = 1


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels at the model's size, and facts about the original. ``views`` are all views where there
    are several; ``pixels`` are those of the first, the centred square of the first frame. ``pdq``
    is None unless the decoder is to compute it."""

    pixels: Pixels
    facts: ImageFacts
    views: DecodedViews | None = None
    pdq: PdqHash | None = None


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made an embedding, and how.

    ``revision`` is the hub's commit hash, or ``sha256:…`` over a local directory's files.
    ``logit_scale`` is exp of the checkpoint's parameter. ``precision`` is the arithmetic (``fp32``,
    ``bf16``, ``int8``, …). ``engine`` computed the embedding: ``torch-cpu``, ``torch-cuda``, …, or
    with int8 ``openvino-cpu:`` and the calibration's hash.
    """

    name: str
    revision: str
    dimension: int
    logit_scale: float
    precision: str
    engine: str


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label's result. ``similarity`` is the cosine between image and label. ``score`` is what
    the decision rule derives from it, 0 to 1. ``probability`` is what the label's calibration makes
    of the score; None if it has none. Of several views, all are those of the view at the place
    ``view``, where the score is largest."""

    label: str
    score: float
    similarity: float
    view: int | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class LabelSetResult:
    """One label set's result for one image.

    ``matched`` are the labels at or above a threshold. ``decision`` is the most severe action among
    theirs, or the label set's default action. The label set's ``review_if`` may raise that:
    ``raised`` are then the conditions that the image meets, and ``labels_decision`` is that of its
    labels, else None. ``severe_label`` is the matched label that called for the most severe action.
    ``severity`` is how many of the set's actions are less severe than the decision.
    ``is_default`` says whether the decision is the default action. The result of a ``shadow`` set
    counts in no decision, action or metric. A result that was read back from a file has only the
    first five fields.
    """

    label_set: str
    version: str
    scores: tuple[LabelScore, ...]
    matched: tuple[str, ...]
    decision: str
    severe_label: str | None = None
    severity: int = 0
    is_default: bool = True
    raised: tuple[str, ...] = ()
    labels_decision: str | None = None
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """What a model sees in a file, whatever it is then compared with.

    ``embedding`` [dimension] is that of the first frame's centred square; ``views``, if there are
    several, have it first. ``sha256`` and ``size_bytes`` are those of the stored file. ``pdq`` is
    as in ``DecodedImage``.
    """

    embedding: Published
    model: ModelIdentity
    image: ImageFacts
    sha256: str
    size_bytes: int
    decode_mode: str
    decode_crop: str
    views: LookedViews | None = None
    pdq: PdqHash | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """A classified image. ``results`` were computed from exactly the values of the embeddings.
    ``etag`` and ``version_id`` are those of the object that was read. ``known_action`` is the
    action of a match, if none of the image's label sets has it; else None."""

    ref: ImageRef
    looked: Looked
    results: tuple[LabelSetResult, ...]
    etag: str | None
    version_id: str | None
    matches: tuple[KnownMatch, ...] = ()
    known_action: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What cannot be classified, and why.

    ``ref`` is None if the input could not be read as a reference. ``unclassified_action`` is the
    label set's action for images that were not looked at; the default applies if no label set was
    to look; it is never less than the action of a list that has the file (``matches``). ``format``
    is the recognised format of a file of an unsupported format.
    """

    code: str
    message: str
    attempts: int
    ref: ImageRef | None = None
    unclassified_action: str = "review"
    format: str | None = None
    matches: tuple[KnownMatch, ...] = ()


Outcome = Classification | DeadLetter | Skipped


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the things in a record, with its identity.

    ``record`` is what a dead letter without a reference repeats: the record as it came, or with
    only this entry.
    """

    origin: Origin
    content: ImageRef | DeadLetter | Skipped
    record: Record | None = None


class OutputTopic(StrEnum):
    """The output topics by role; settings give them names. ``ACTIONS`` is used only if it has a
    name."""

    CLASSIFICATIONS = "classifications"
    EMBEDDINGS = "embeddings"
    DEAD_LETTERS = "dead_letters"
    ACTIONS = "actions"


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One record to publish. Header values are never null, because the client cannot write null.

    ``size_bytes`` is the size of key, value and headers, without the record's framing."""

    topic: OutputTopic
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    size_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Computed once, because every step from the commit window to the broker reads it.
        size = len(self.key or b"") + len(self.value)
        for name, value in self.headers:
            size += len(value) + (len(name) if name.isascii() else len(name.encode()))
        object.__setattr__(self, "size_bytes", size)


Epoch = NewType("Epoch", int)
"""Counts how often a partition was assigned to this worker. Work of an older epoch is dropped."""
