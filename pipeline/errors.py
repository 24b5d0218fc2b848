"""The pipeline's own exceptions: the three fates of a failure, and what passes between two stages.

    Exception
    ├─ PipelineError          has a stable code; ends at the border of a stage or a worker
    │  ├─ Reject              this reference fails: dead-letter it and advance
    │  ├─ Retry               the same input may work later
    │  │  ├─ StoreDenied      the store refuses access
    │  │  └─ CommitDoubtful   nobody knows whether the commit succeeded
    │  │     └─ Unconfirmed   the group must confirm this member first
    │  ├─ Halt                our fault or our operator's: stop, commit no further
    │  ├─ Overloaded          no room for one more image: try again after the named wait
    │  └─ WorkerLost          this process cannot go on, another may
    ├─ PoisonedBatch          from an encoder to the isolation: split the batch
    ├─ DeviceOutOfMemory      from an encoder to the isolation: use smaller batches
    └─ OutcomeTooLarge        from a stream to the committer: replace the outcome

A code is part of the public contract: it is a metric label and a field of every dead letter. A
code is never renamed. ``CODES`` says for each code of a Reject what it means and what to do;
``pipeline.halts`` does the same for the codes of a Halt. Both are rendered into the documentation.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """What can bring a reject code about, and so when it counts for the failure budget."""

    MESSAGE = "message"
    """A message alone, so that any sender can, at will. Never counts."""
    IMAGE = "image"
    """The bytes of an image alone. Counts while a good image fails too."""
    OBJECT = "object"
    """What the store says of one object. Counts while nothing can be read from its bucket."""
    DEPLOYMENT = "deployment"
    """What we or an operator did. Always counts."""


@dataclass(frozen=True, slots=True)
class Code:
    """Meaning of a reject code, the operator's remedy, and what can bring it about."""

    meaning: str
    remedy: str
    blame: Blame = Blame.DEPLOYMENT

    @staticmethod
    def stage(code: str) -> str:
        """Stage that a code belongs to: the part before its dot."""
        return code.partition(".")[0]


class PipelineError(Exception):
    """Base of the pipeline's own failures.

    ``code`` is stable, ``message`` is for people and carries no secrets. Both survive pickling,
    which Ray needs to bring an error from an actor to the driver.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Reject(PipelineError):
    """This reference cannot be classified, now or later: dead-letter it and advance.

    ``attempts`` counts the tries that led here, for the dead letter. ``format`` is what a file of
    an unsupported format was recognised as, one of ``pipeline.decode.signatures.FORMATS``.
    """

    def __init__(
        self, code: str, message: str, *, attempts: int = 1, format: str | None = None
    ) -> None:
        if code not in CODES:
            raise ValueError(f"errors: reject code {code!r} is not in CODES; add it there")
        super().__init__(code, message)
        self.attempts = attempts
        self.format = format


class Retry(PipelineError):
    """The same input may work later: nothing is wrong with the reference itself.

    Where a stage dead-letters what never passes, ``code`` is the dead letter's.
    ``retry_after_s`` is what the other side asked for, where it did.
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[Retry], tuple[str, str, float | None]]:
        return (type(self), (self.code, self.message, self.retry_after_s))


class StoreDenied(Retry):
    """Access refused. Whether this is one object's fault or an outage of credentials is decided by
    whether the store serves others meanwhile."""


class CommitDoubtful(Retry):
    """The commit failed, or nobody knows whether it succeeded: call ``Stream.recover``."""


class Unconfirmed(CommitDoubtful):
    """The group must confirm this member before it may commit again: call ``Stream.recover`` after
    the next poll."""


class Halt(PipelineError):
    """Our fault or our operator's: stop, and commit no further."""


class WorkerLost(PipelineError):
    """This process cannot work any more, and one started anew may: nobody need act."""


class Overloaded(PipelineError):
    """A stage has no room for one more image, and will have. No fate of the image: its caller asks
    again later, or tells its own caller to.

    ``wait_s`` is the wait to be expected, in seconds, as the stage has measured it lately. Only a
    stage that was given a bound raises it; the stream gives none, for ``flow.max_in_flight`` bounds
    what it takes in.
    """

    def __init__(self, code: str, message: str, wait_s: float) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s

    def __reduce__(self) -> tuple[type[Overloaded], tuple[str, str, float]]:
        return (type(self), (self.code, self.message, self.wait_s))


class PoisonedBatch(Exception):
    """The encoder failed on a batch for a reason that may lie in one of its images."""


class DeviceOutOfMemory(Exception):
    """The batch does not fit the device."""


class OutcomeTooLarge(Exception):
    """A record of the commit does not fit; nothing of the commit became visible.

    ``index`` is its place in ``Commit.records``.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(index, message)
        self.index = index
        self.message = message


_EXHAUSTED = frozenset(
    # EAGAIN is fork's: no process or thread may be added.
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN}
)
_NO_THREAD = "can't start new thread"
"""What Python says in place of an error number where a thread cannot be added."""


def ends_worker(error: BaseException) -> bool:
    """Whether the error is about this process and not about the image that met it: no outcome may
    be made of it, and another process takes the work up."""
    return isinstance(error, WorkerLost) or is_exhaustion(error)


def is_exhaustion(error: BaseException) -> bool:
    """Whether the process has run out of memory, file descriptors, threads or disk. That is no
    image's fault, and every image would fail by it: the worker ends, and another takes its place.
    """
    if isinstance(error, RuntimeError):
        return str(error) == _NO_THREAD
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _EXHAUSTED
    )


CODES: dict[str, Code] = {
    "record.corrupt": Code(
        "the broker returned bytes that fail their checksum or cannot be decoded, four times",
        "look at the broker's disks and logs; the dead letter names the lost offset",
    ),
    "reference.not_json": Code(
        "the record's value is not JSON in UTF-8 with one meaning: no NaN, no name twice in an "
        "object, no lone surrogates",
        "see the raw bytes in the dead letter and mend the producer",
        Blame.MESSAGE,
    ),
    "reference.unknown_format": Code(
        "the JSON is of no format, no version of one, or an event of none, that Clipstream reads",
        "compare with docs/input-formats.md; check which producer writes to the topic",
        Blame.MESSAGE,
    ),
    "reference.invalid": Code(
        "a field is missing, of the wrong type or out of its range",
        "the message names the field; mend the producer",
        Blame.MESSAGE,
    ),
    "reference.too_large": Code(
        "the record is larger or nested deeper than the limits of `references`",
        "send smaller records, or raise the limit that the message names",
        Blame.MESSAGE,
    ),
    "reference.too_many": Code(
        "the record holds more than `references.max_references_per_record` references",
        "split the record, or raise the limit",
        Blame.MESSAGE,
    ),
    "reference.metadata_too_large": Code(
        "the metadata of a reference exceeds 4 KiB",
        "carry an identifier instead and join downstream",
        Blame.MESSAGE,
    ),
    "reference.not_allowed": Code(
        "the message asks for a label set or tenant that its route does not allow",
        "allow it in the route, or mend the producer",
        Blame.MESSAGE,
    ),
    "reference.unknown_label_set": Code(
        "the label set named is not loaded",
        "load it (`label_sets`), or mend the name; it is never replaced by a default",
        Blame.MESSAGE,
    ),
    "reference.no_route": Code(
        "no route matches the reference",
        "add a route, or a last one that skips what matches no other",
        Blame.MESSAGE,
    ),
    "fetch.bucket_not_allowed": Code(
        "no store's `allowed_buckets` name the bucket (`s3.allowed_buckets`, or those of `stores`)",
        "allow the bucket, or mend the producer",
        Blame.MESSAGE,
    ),
    "fetch.not_found": Code(
        "the object (or the version asked for) does not exist",
        "check the order of upload and notification, and lifecycle rules",
        Blame.OBJECT,
    ),
    "fetch.no_bucket": Code(
        "the bucket does not exist, while the store serves others",
        "create the bucket, or tighten the pattern in its store's `allowed_buckets` that lets it "
        "pass",
        Blame.MESSAGE,
    ),
    "fetch.forbidden": Code(
        "the store refuses this object while it serves others",
        "grant s3:GetObject (and s3:GetObjectVersion) on it",
        Blame.OBJECT,
    ),
    "fetch.locked": Code(
        "the store cannot decrypt this object for the worker, while it serves others",
        "grant kms:Decrypt on the object's key, or enable the key; objects encrypted with a "
        "customer's own key (SSE-C) cannot be read",
        Blame.OBJECT,
    ),
    "fetch.superseded": Code(
        "the object has changed since the reference was written (ETag differs)",
        "nothing, if its newer version has a reference of its own; else send version ids",
        Blame.OBJECT,
    ),
    "fetch.archived": Code(
        "the object is in an archive tier and must be restored first",
        "restore it and replay",
        Blame.OBJECT,
    ),
    "fetch.empty": Code("the object has no bytes", "look at the uploader", Blame.OBJECT),
    "fetch.too_large": Code(
        "the object exceeds `fetch.max_bytes`",
        "raise the limit if such images are legitimate",
        Blame.OBJECT,
    ),
    "fetch.timeout": Code(
        "the object did not arrive within `fetch.deadline_s`, while others did",
        "look at the store's latency; raise the deadline",
    ),
    "fetch.failed": Code(
        "the store failed on this object again and again, while it served others",
        "look at the store's logs, then replay",
    ),
    "decode.unsupported_format": Code(
        "the bytes are of no format in `decode.formats`",
        "the message and the header `dlq.format` name the format that was recognised, and the "
        "message what to install or set; clipstream_unsupported_formats_total counts by format",
        Blame.IMAGE,
    ),
    "decode.unsupported_encoding": Code(
        "the object's Content-Encoding names a coding other than gzip, deflate, br and zstd, or "
        "more than four",
        "upload such objects uncoded, or mend the header",
        Blame.IMAGE,
    ),
    "decode.unsupported_variant": Code(
        "the file is sound and of an allowed format, but of a kind that the decoder lacks or would "
        "misread; the message names the kind",
        "convert such images before upload; update Pillow",
        Blame.IMAGE,
    ),
    "decode.too_large": Code(
        "the header announces more pixels than `decode.max_megapixels`, or the file, unpacked from "
        "its Content-Encoding, has more bytes than `fetch.max_bytes`",
        "raise the limit that the message names if such images are legitimate, and the sandbox's "
        "memory with it",
        Blame.IMAGE,
    ),
    "decode.truncated": Code(
        "the file ends before its image does",
        "look at the uploader",
        Blame.IMAGE,
    ),
    "decode.corrupt": Code(
        "the file's data are damaged: they cannot be decoded",
        "look at the uploader",
        Blame.IMAGE,
    ),
    "decode.animation": Code(
        "the file has several frames and `decode.animations` is `reject`",
        "review it by other means: its first frame says little",
        Blame.IMAGE,
    ),
    "decode.crashed": Code(
        "the decoder process died on this file, twice",
        "keep the file for a report to the decoder's authors; update Pillow",
        Blame.IMAGE,
    ),
    "decode.timeout": Code(
        "decoding took longer than `decode.deadline_s` and was killed",
        "raise the deadline if the file is legitimate",
        Blame.IMAGE,
    ),
    "decode.out_of_memory": Code(
        "decoding needed more than `decode.max_memory_mib`",
        "raise the limit if the file is legitimate",
        Blame.IMAGE,
    ),
    "encode.non_finite": Code(
        "the model's output for this image is not finite, twice",
        "keep the image and check the model's precision",
    ),
    "encode.failed": Code(
        "the model fails on this image alone, not on its neighbours",
        "keep the image and look at the worker's log",
    ),
    "internal.unexpected": Code(
        "a defect of Clipstream that this reference brought out",
        "see the worker's log for the traceback, report it, and replay after the update",
    ),
    "publish.too_large": Code(
        "the outcome does not fit the output topic's max.message.bytes",
        "raise the topic's limit (`clipstream doctor` compares them), or send less metadata",
    ),
}
