"""What the pipeline needs from the outside world, as protocols. Adapters implement them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from pipeline.records import (
    DecodedImage,
    ImageGeometry,
    ModelIdentity,
    ObjectBody,
    Origin,
    OutputRecord,
    Partition,
    Pixels,
    Position,
    Record,
    Vector,
)
from pipeline.records.progress import Progress

if TYPE_CHECKING:
    from pipeline.metrics import Metric


class Clock(Protocol):
    """Time and waiting, passed as an argument."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the epoch, for timestamps and latency across machines."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; called on the event loop. A clock may count from the call or from the first step
        of what it returns."""


class Meter(Protocol):
    """Records the metrics of a catalogue in ``pipeline.metrics``. Thread-safe. Never blocks, and
    never raises for a registered metric. Labels must be exactly those of the catalogue.

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
        """Stop exposing a counter or gauge with these labels, if it was told."""


class ImageTrace:
    """The trace of one image, told by its stages one after the other. This one records nothing:
    most images are not traced. Never blocks and never raises."""

    def enter(self, stage: str) -> None:
        """The image leaves the stage that it is in, if any, and enters this one now."""

    def fail(self, code: str) -> None:
        """The stage that the image is in makes it a dead letter with this code."""


UNTRACED = ImageTrace()


class Tracer:
    """Makes traces. This one makes none. Never blocks and never raises: a trace may be lost."""

    def begin(self, origin: Origin) -> ImageTrace:
        """Decide once whether the image is traced; ``UNTRACED`` if not."""
        return UNTRACED

    def committed(self, traces: Iterable[ImageTrace], began_s: float) -> None:
        """A commit, begun at ``began_s`` of the monotonic clock, has made these images' outcomes
        visible. That ends their traces. A trace without a commit is never shown."""


class OnAnswer(Protocol):
    """Called once a store has announced an object. ``size_bytes`` is the announced size; None if
    the store announces none."""

    async def __call__(self, size_bytes: int | None = None, /) -> None: ...


class ObjectStore(Protocol):
    """Reads objects. One call is one attempt; the caller handles retries and deadlines."""

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: OnAnswer,
    ) -> ObjectBody:
        """Read a whole object.

        A given ``version_id`` is read exactly. Otherwise ``etag`` (unquoted) must still be the
        object's. The bytes are those that are stored: a Content-Encoding is reported and not
        undone. ``on_answer`` is awaited after the store has announced the object and before its
        bytes are taken into memory. Whoever bounds memory waits there.

        Raises:
            Reject: ``fetch.not_found``, ``fetch.superseded``, ``fetch.too_large`` (before more than
                ``max_bytes`` are held in memory), ``fetch.empty``, ``fetch.archived``.
            StoreDenied: the store refused this request (403, bad credentials, no such bucket).
            Retry: a failure that may pass. Its code becomes the dead letter's if it never does.
            MemoryError, OSError: this process has run out of memory or file descriptors.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object of a folder. ``etag`` names this version of it for ``Folder.replace``."""

    body: bytes
    etag: str


class Folder(Protocol):
    """Objects of a bucket below a prefix, named relative to it. Each is written in one request, so
    nobody sees half of one. Thread-safe. Every call blocks, and tries a few times.

    Raises:
        StoreDenied: access is refused, or there is no such bucket. ``output.unsupported``: the
            store does not know conditional writes.
        Retry: the store failed several times.
    """

    def read(self, name: str) -> StoredFile | None:
        """The object, or None if there is none."""

    def tail(self, name: str, length: int) -> bytes | None:
        """The last ``length`` bytes of the object, or all of a shorter one. None if there is
        none."""

    def metadata(self, name: str) -> Mapping[str, str] | None:
        """The user metadata that the object was written with, its names in lower case; None if
        there is no object."""

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        """Write an object that must not exist. False if it does, or if it may: the answer to a
        write that happened can be lost, and a second try then finds its own object. A store may
        also answer so while two writers are at it (409), and neither has written yet."""

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = {}
    ) -> str | None:
        """Write an object that must still have this ETag. Returns the new ETag; None if the object
        is another by now, or may be, for the reasons that ``create`` names."""

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
        """Write an object, whether it exists or not."""

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Names of the objects that start with ``prefix``, in the order of their UTF-8 bytes."""

    def close(self) -> None:
        """Release the connections. Who has opened the folder closes it."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    bucket: str
    key: str
    etag: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListedPage:
    """Some objects of a bucket, as columns of the same length: cheaper than an object each."""

    bucket: str
    keys: Sequence[str]
    etags: Sequence[str | None]
    sizes_bytes: Sequence[int]


class CheckResult(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    """Works, but not as it should, or could not be determined."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of ``clipstream doctor``. If the check did not pass, ``message`` says what to
    do."""

    subject: str
    result: CheckResult
    message: str


class Decoder(Protocol):
    """Turns a file's bytes into pixels at the model's size, isolated from secrets and the
    network."""

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        """Decode one image. The decoder's own deadline counts from when a decoder is free. The
        codings that ``content_encoding`` names are undone first. Of the callers that wait for a
        decoder, those of a lower ``level`` go first (``pipeline.priority``).

        Raises:
            Reject: any code of the ``decode`` stage.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """How a model reads prompts.

    ``tokenize`` returns the token ids of each prompt, with start and end, and never cuts a prompt.
    ``max_tokens`` is how many tokens the model accepts.
    """

    tokenize: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    max_tokens: int


class Encoder(Protocol):
    """Runs the model. Every call blocks."""

    @property
    def lanes(self) -> int:
        """How many threads may call the encoder at a time."""

    @property
    def parallel(self) -> int:
        """How many of these calls are computed at a time. The other calls are prepared meanwhile,
        so that the device need not wait for them."""

    @property
    def largest(self) -> int:
        """Most images in a batch. Larger batches are encoded in parts."""

    @property
    def model(self) -> ModelIdentity: ...

    @property
    def geometry(self) -> ImageGeometry: ...

    @property
    def prompts(self) -> PromptTokens:
        """How the model reads prompts. May be used from any thread."""

    def encode_images(self, pixels: Pixels) -> Vector:
        """Embed uint8 [batch, crop, crop, 3]; returns unit vectors [batch, dimension] in order.

        A row may be non-finite; the caller checks.

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
            Halt: a prompt has more tokens than the model reads; the message names the prompt.
        """


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition now belongs to this worker; records follow from the progress's offset on."""

    partition: Partition
    progress: Progress


@dataclass(frozen=True, slots=True)
class Revoked:
    """A partition no longer belongs to this worker. Its unfinished work is dropped."""

    partition: Partition


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An offset whose record could not be read in ``attempts`` fetches."""

    position: Position
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Polled:
    """The result of one poll. Changes of assignment come before the records, in the order in which
    they happened. Records are of owned partitions only, in offset order within a partition. An
    unreadable offset follows its partition's records, at the earliest in the poll that brought
    them."""

    changes: tuple[Assigned | Revoked, ...]
    records: tuple[Record, ...]
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Outcomes and the progress that they bring: visible together or not at all."""

    progress: Mapping[Partition, Progress]
    records: tuple[OutputRecord, ...]


class Stream(Protocol):
    """The input and output of a stream worker. One thread owns it; every call may block."""

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        """Wait up to ``timeout_s`` for records. Keeps the group membership alive.

        Raises:
            Retry: the broker cannot be reached; poll again.
            Halt: an offset is out of range or missing, a topic was created again, or access is
                denied.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Poll nothing from the partitions. Partitions that are not owned are ignored, here and in
        ``resume`` and ``seek``. A newly assigned partition is not paused."""

    def resume(self, partitions: Iterable[Partition]) -> None: ...

    def seek(self, partition: Partition, offset: int) -> None: ...

    def commit(self, commit: Commit) -> None:
        """Publish the records and commit the progress, atomically in ``exactly_once``.

        Raises:
            OutcomeTooLarge: one record is too large; nothing happened.
            CommitDoubtful: call ``recover`` before anything else.
            Halt: fenced by another owner of the same transactional id, or not authorised.
        """

    def recover(self) -> Mapping[Partition, Progress | None]:
        """Called after ``CommitDoubtful``: resolve the doubt, and return the committed progress of
        each owned partition, or None.

        Raises:
            CommitDoubtful: still unknown; call again, after a pause.
            Halt: as ``commit``.
        """

    def positions(self) -> Mapping[Partition, int]:
        """The next offset to be polled of each owned partition. Offsets below it that brought no
        record are gaps in the log (control records, compaction)."""

    def ends(self) -> Mapping[Partition, int]:
        """The latest known end of each owned partition. Partitions without one are absent."""

    @property
    def confirmed(self) -> bool:
        """Whether the group has answered this member lately. False while brokers are out of reach,
        and before the member has joined. May be asked from any thread."""

    @property
    def can_commit(self) -> bool:
        """Whether ``commit`` may be called. False from ``CommitDoubtful`` until ``recover``."""

    def close(self, timeout_s: float) -> None:
        """Leave the group and release everything. A static member stays until its session ends."""
