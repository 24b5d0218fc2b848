"""What the pipeline needs of the world, as protocols. Adapters implement them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from pipeline.records import (
    DecodedImage,
    ImageGeometry,
    ModelIdentity,
    ObjectBody,
    OutputRecord,
    Partition,
    Pixels,
    Position,
    Record,
    Vector,
)

if TYPE_CHECKING:
    from pipeline.metrics import Metric


class Clock(Protocol):
    """Time and waiting, as an argument."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the epoch; for timestamps and latency across machines."""

    async def sleep(self, seconds: float) -> None: ...


class Meter(Protocol):
    """Records the metrics of a catalogue of ``pipeline.metrics``. Thread-safe, never blocks or
    raises on a metric that is registered; labels must be exactly those of the catalogue.

    Raises:
        KeyError: the metric is not in the catalogue.
    """

    def add(self, metric: Metric, value: float = 1, /, **labels: str) -> None:
        """Increase a counter."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Add one observation to a histogram."""

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def forget(self, metric: Metric, /, **labels: str) -> None:
        """Stop exposing a gauge of these labels, if it was set."""


class ObjectStore(Protocol):
    """Reads objects. One call is one attempt: retries and deadlines are the caller's."""

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        """Read a whole object.

        A ``version_id`` is read exactly; else ``etag`` (unquoted) must still be the object's. The
        bytes are those that are stored: a Content-Encoding is told and not undone. ``on_answer`` is
        awaited when the store has announced the object and before its bytes are taken into memory:
        whoever bounds memory waits there.

        Raises:
            Reject: ``fetch.not_found``, ``fetch.superseded``, ``fetch.too_large`` (before more
                than ``max_bytes`` are held in memory), ``fetch.empty``, ``fetch.archived``.
            StoreDenied: the store refused this request (403, bad credentials, no such bucket).
            Retry: a failure that may pass; its code is the dead letter's if it never does.
            MemoryError, OSError: this process has run out of memory or file descriptors.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ListedObject:
    bucket: str
    key: str
    etag: str | None
    size_bytes: int


class CheckResult(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    """Works, but not as it should, or could not be told."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of ``clipstream doctor``. ``message`` says what to do where it did not pass."""

    subject: str
    result: CheckResult
    message: str


class Decoder(Protocol):
    """Turns a file's bytes into pixels at the model's size, away from anything worth stealing."""

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        """Decode one image; its own deadline counts from when a decoder is free. The codings that
        ``content_encoding`` names are undone first. Of those that wait for a decoder, ones of a
        lower ``level`` go first (``pipeline.priority``).

        Raises:
            Reject: any code of the ``decode`` stage.
        """

    async def close(self) -> None: ...


class Encoder(Protocol):
    """Runs the model. Every call blocks."""

    @property
    def lanes(self) -> int:
        """How many threads may call it at once."""

    @property
    def parallel(self) -> int:
        """How many of these calls are computed at once; the others have their turn prepared, so
        that the device need not wait for it."""

    @property
    def largest(self) -> int:
        """Images of a batch; larger ones are encoded in parts."""

    @property
    def model(self) -> ModelIdentity: ...

    @property
    def geometry(self) -> ImageGeometry: ...

    def encode_images(self, pixels: Pixels) -> Vector:
        """Embed uint8 [batch, crop, crop, 3]; returns unit vectors [batch, dimension] in order.

        A row may be non-finite: the caller looks.

        Raises:
            PoisonedBatch: the batch failed; its halves may not.
            DeviceOutOfMemory: a smaller batch may fit.
            WorkerLost: the device is lost to this process.
            Halt: the device or the model is unusable.
        """

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        """Embed prompts; returns unit vectors [len(prompts), dimension].

        Raises:
            Reject: never.
            Halt: a prompt has more tokens than the model reads; it names the prompt.
        """


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition now belongs to this worker; records follow from ``offset`` on."""

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """A partition no longer belongs to this worker: its unfinished work is void."""

    partition: Partition


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An offset whose record the broker returned so many times without its bytes being readable."""

    position: Position
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought. Changes of assignment, in the order they happened, come before the
    records; records are of owned partitions only, in offset order within a partition. An unreadable
    offset comes after its partition's records, at the earliest in the poll that brought them.
    """

    changes: tuple[Assigned | Revoked, ...]
    records: tuple[Record, ...]
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Outcomes and the offsets they finish: visible together or not at all."""

    offsets: Mapping[Partition, int]
    records: tuple[OutputRecord, ...]


class Stream(Protocol):
    """The input and output of a stream worker. One thread owns it; every call may block."""

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        """Wait up to ``timeout_s`` for records; keeps the group membership alive.

        Raises:
            Retry: the broker cannot be reached; poll again.
            Halt: an offset is out of range or missing, a topic was re-created, or access denied.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Poll nothing from the partitions. Those that are not owned are passed over, here and in
        ``resume`` and ``seek``; a partition that is assigned anew is not paused."""

    def resume(self, partitions: Iterable[Partition]) -> None: ...

    def seek(self, partition: Partition, offset: int) -> None: ...

    def commit(self, commit: Commit) -> None:
        """Publish the records and commit the offsets, atomically in ``exactly_once``.

        Raises:
            OutcomeTooLarge: one record does not fit; nothing happened.
            CommitDoubtful: call ``recover`` before anything else.
            Halt: fenced by another owner of the same transactional id, or not authorised.
        """

    def recover(self) -> Mapping[Partition, int | None]:
        """After ``CommitDoubtful``: settle what was in doubt and return the committed offset of
        each owned partition (None where there is none).

        Raises:
            CommitDoubtful: still unknown; call again, after a pause.
            Halt: as ``commit``.
        """

    def positions(self) -> Mapping[Partition, int]:
        """The next offset to be polled of each owned partition. Offsets below it that brought no
        record are gaps in the log (control records, compaction)."""

    def ends(self) -> Mapping[Partition, int]:
        """The end of each owned partition, as last heard; absent where nothing was heard yet."""

    @property
    def confirmed(self) -> bool:
        """Whether the group has answered this member lately: False while brokers are out of reach,
        and before it has joined. May be asked from any thread."""

    @property
    def can_commit(self) -> bool:
        """Whether ``commit`` may be called: False from ``CommitDoubtful`` until ``recover``."""

    def close(self, timeout_s: float) -> None:
        """Leave the group (a static member stays until its session ends) and release everything."""
