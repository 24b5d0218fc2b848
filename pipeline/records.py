"""The domain's types: what goes in, what comes out, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NewType

import numpy as np
import numpy.typing as npt

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]

Pixels = npt.NDArray[np.uint8]
"""uint8 RGB, C-contiguous, [height, width, 3] for one image or [batch, height, width, 3]."""

Vector = npt.NDArray[np.float32]
"""float32, [dimension] or [count, dimension]; embeddings are of unit length."""

EmbeddingDtype = Literal["float32", "float16"]
"""What elements of published embeddings may be."""

Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka record headers in order; names may repeat, a value may be null."""

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
    """Where a record stands."""

    partition: Partition
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as it was consumed: bytes, uninterpreted."""

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
    """That a record repeats a dead letter: the letter's event id, and how often its reference has
    been replayed, from 1."""

    of: str
    count: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a reference is in a stream: where its record stands, and what its outcome keeps of that.

    ``index`` is the reference's place among the record's references, from 0.
    """

    position: Position
    index: int
    timestamp_ms: int
    key: bytes | None = None
    traceparent: str | None = None
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sender of a reference asked for, before a route decided. Most ask for nothing."""

    label_sets: tuple[str, ...] = ()
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Names an object to classify, and how; never where the reference came from.

    ``label_sets`` has been decided by a route and is never empty; only in the dead letter of a
    reference that the routes refused is it, as ``tenant``, what the sender asked for, perhaps
    nothing. ``asked`` is what the sender asked for, None where nobody knows. ``metadata`` is the
    sender's and is carried through unread. ``scheme`` and ``bucket`` say which store has it.
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

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def subject(self) -> str:
        """The sender's id, else the URI: the CloudEvents subject of the outcome."""
        return self.id if self.id is not None else self.uri


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record, or one entry of it, that holds nothing to classify; decided without I/O.

    ``reason`` is one of a small closed set (a metric label): see ``pipeline.references``.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ObjectBody:
    """An object as the store keeps it. ``etag`` is without its quotes; ``content_encoding`` is the
    header's text, whose codings ``body`` still has."""

    body: bytes
    etag: str | None
    version_id: str | None
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """Size that a model looks at: shortest edge resized to ``resize``, centre cropped to ``crop``
    squared (pixels). The resampling filter is bicubic with antialiasing, as CLIP was trained."""

    resize: int
    crop: int


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an event says about the original of an image.

    ``width`` and ``height`` are the original's after its EXIF orientation. ``frames`` counts an
    animation's (1 for a still); ``cropped_share`` is the share of the original's area that the
    model does not see, 0 to 1.
    """

    format: str
    width: int
    height: int
    frames: int
    cropped_share: float


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels at the model's size, and what is known of the original."""

    pixels: Pixels
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made an embedding, and how.

    ``revision`` is the hub's commit hash, or ``sha256:…`` over a local directory's files.
    ``logit_scale`` is exp of the checkpoint's parameter; ``precision`` is the arithmetic's
    (``fp32``, ``bf16``, ``int8``, …) and ``engine`` what computed it: ``torch-cpu``,
    ``torch-cuda``, …, or with int8 ``openvino-cpu:`` and the calibration's hash.
    """

    name: str
    revision: str
    dimension: int
    logit_scale: float
    precision: str
    engine: str


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label's result. ``similarity`` is the cosine between image and label, -1 to 1;
    ``score`` is the probability that the label set's decision rule makes of it, 0 to 1."""

    label: str
    score: float
    similarity: float


@dataclass(frozen=True, slots=True)
class LabelSetResult:
    """What one label set says of one image.

    ``matched`` are the labels at or above a threshold, ``decision`` the most severe action among
    theirs, or the label set's default action.
    """

    label_set: str
    version: str
    scores: tuple[LabelScore, ...]
    matched: tuple[str, ...]
    decision: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What a model sees in a file, whatever it is then compared with.

    ``embedding`` is of the dtype that is published: little-endian float32 or float16, [dimension].
    ``sha256`` and ``size_bytes`` are the file's as it is stored.
    """

    embedding: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    model: ModelIdentity
    image: ImageFacts
    sha256: str
    size_bytes: int
    decode_mode: str
    decode_crop: str


@dataclass(frozen=True, slots=True)
class Classification:
    """A classified image. ``results`` were computed from exactly the values of the embedding;
    ``etag`` and ``version_id`` are the object's that was read."""

    ref: ImageRef
    looked: Looked
    results: tuple[LabelSetResult, ...]
    etag: str | None
    version_id: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What cannot be classified, and why.

    ``ref`` is None where what was sent could not be read as a reference. ``unclassified_action`` is
    what the label set says of images that nobody looked at; the default where none was to look.
    ``format`` is what a file of an unsupported format was recognised as.
    """

    code: str
    message: str
    attempts: int
    ref: ImageRef | None = None
    unclassified_action: str = "review"
    format: str | None = None


Outcome = Classification | DeadLetter | Skipped


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the things that a record holds, and who it is.

    ``record`` is what a dead letter without a reference repeats: the record as it came, or with
    this entry alone.
    """

    origin: Origin
    content: ImageRef | DeadLetter | Skipped
    record: Record | None = None


class OutputTopic(StrEnum):
    """The three output topics by role; settings give them names."""

    CLASSIFICATIONS = "classifications"
    EMBEDDINGS = "embeddings"
    DEAD_LETTERS = "dead_letters"


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One record to publish. Header values are never null: the client cannot write them.

    ``size_bytes`` is the payload's: key, value and headers, without the record's framing.
    """

    topic: OutputTopic
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    size_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once: it is asked for at every step from the commit window to the broker.
        size = len(self.key or b"") + len(self.value)
        for name, value in self.headers:
            size += len(value) + (len(name) if name.isascii() else len(name.encode()))
        object.__setattr__(self, "size_bytes", size)


Epoch = NewType("Epoch", int)
"""Counts the times a partition was assigned to this worker; work of an older epoch is void."""
