"""The pipeline's own exceptions: the three fates of a failure, and signals between two stages.

    Exception
    ├─ PipelineError          has a stable code; ends at the border of a stage or a worker
    │  ├─ Reject              this reference fails: dead-letter it and advance
    │  ├─ Retry               the same input may work later
    │  │  ├─ StoreDenied      the store refuses access
    │  │  └─ CommitDoubtful   nobody knows whether the commit succeeded
    │  │     └─ Unconfirmed   the group must confirm this member first
    │  ├─ Halt                our fault or our operator's: stop, commit no further
    │  ├─ WorkerLost          this process cannot go on, another may
    │  └─ Overloaded          a stage has no room for one more image
    ├─ PoisonedBatch          from an encoder to the isolation: split the batch
    ├─ DeviceOutOfMemory      from an encoder to the isolation: use smaller batches
    └─ OutcomeTooLarge        from a stream to the committer: replace the outcome

A code is part of the public contract: it is a metric label and a field of every dead letter. A code
is never renamed. ``CODES`` says for each code of a Reject what it means and what to do;
``pipeline.halts`` does the same for the codes of a Halt. Both are rendered into the documentation.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """What can cause a reject code, which decides when the code counts for the failure budget."""

    MESSAGE = "message"
    """A message alone can cause the code, so any sender can, at will. Never counts."""
    IMAGE = "image"
    """The bytes of an image alone can cause the code. Counts while a good image fails too."""
    OBJECT = "object"
    """What the store says about one object. Counts while nothing can be read from the object's
    bucket."""
    DEPLOYMENT = "deployment"
    """Something that we or an operator did. Always counts."""


@dataclass(frozen=True, slots=True)
class Code:
    """Meaning of a reject code, the operator's remedy, and what can cause the code."""

    meaning: str
    remedy: str
    blame: Blame = Blame.DEPLOYMENT

    @staticmethod
    def stage(code: str) -> str:
        """The stage that a code belongs to: the part before the dot."""
        return code.partition(".")[0]


class PipelineError(Exception):
    """Base of the pipeline's own failures.

    ``code`` is stable. ``message`` is for people and carries no secrets. Both survive pickling,
    because Ray pickles an error to bring it from an actor to the driver.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Reject(PipelineError):
    """This reference cannot be classified, now or later: dead-letter it and advance.

    ``attempts`` counts the tries before this failure, for the dead letter. ``format`` is the format
    that was recognised in a file of an unsupported format, one of
    ``pipeline.decode.signatures.FORMATS``.
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

    A stage that gives up retrying uses ``code`` for the dead letter. ``retry_after_s`` is the wait
    that the other side asked for, if it asked.
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[Retry], tuple[str, str, float | None]]:
        return (type(self), (self.code, self.message, self.retry_after_s))


class StoreDenied(Retry):
    """The store refuses access. The refusal is one object's fault if the store serves other objects
    meanwhile; else it is an outage of credentials."""


class CommitDoubtful(Retry):
    """The commit failed, or nobody knows whether it succeeded: call ``Stream.recover``."""


class Unconfirmed(CommitDoubtful):
    """The group must confirm this member before it may commit again: call ``Stream.recover`` after
    the next poll."""


class Halt(PipelineError):
    """Our fault or our operator's: stop, and commit no further."""


class WorkerLost(PipelineError):
    """This process cannot work any more, but a new process may. No person need act."""


class Overloaded(PipelineError):
    """A stage has no room for one more image now, but will have. This is no fate of the image: the
    caller asks again later, or tells its own caller to.

    ``wait_s`` is the expected wait in seconds, from the stage's recent measurements. Only a stage
    that was given a bound raises this error. The stream sets no bound, because
    ``flow.max_in_flight`` limits its intake.
    """

    def __init__(self, code: str, message: str, wait_s: float) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s

    def __reduce__(self) -> tuple[type[Overloaded], tuple[str, str, float]]:
        return (type(self), (self.code, self.message, self.wait_s))


class PoisonedBatch(Exception):
    """The encoder failed on a batch, and one of its images may be the reason."""


class DeviceOutOfMemory(Exception):
    """The batch does not fit the device."""


class OutcomeTooLarge(Exception):
    """A record of the commit is too large. Nothing of the commit became visible.

    ``index`` is the record's place in ``Commit.records``.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(index, message)
        self.index = index
        self.message = message


_EXHAUSTED = frozenset(
    # fork gives EAGAIN when no more processes or threads are allowed.
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN}
)
_NO_THREAD = "can't start new thread"
"""Python's message when a thread cannot be started; the error has no number."""


def ends_worker(error: BaseException) -> bool:
    """Whether the error concerns this process and not the image that met it. No outcome may be made
    of such an error; another process takes the work over."""
    return isinstance(error, WorkerLost) or is_exhaustion(error)


def is_exhaustion(error: BaseException) -> bool:
    """Whether the process has run out of memory, file descriptors, threads or disk. No image is at
    fault, and every image would fail, so the worker ends and another process replaces it."""
    if isinstance(error, RuntimeError):
        return str(error) == _NO_THREAD
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _EXHAUSTED
    )


CODES: dict[str, Code] = {
    "record.corrupt": Code(
        "the broker returned bytes that fail their checksum or cannot be decoded, in four attempts",
        "check the broker's disks and logs; the dead letter names the lost offset",
    ),
    "reference.not_json": Code(
        "the record's value is not unambiguous JSON in UTF-8: NaN, a name twice in an object and "
        "lone surrogates are refused",
        "look at the raw bytes in the dead letter and fix the producer",
        Blame.MESSAGE,
    ),
    "reference.unknown_format": Code(
        "the JSON is in no format, format version or event type that Clipstream reads",
        "compare with docs/input-formats.md; check which producer writes to the topic",
        Blame.MESSAGE,
    ),
    "reference.invalid": Code(
        "a field is missing, has a wrong type or is out of range",
        "fix the producer; the message names the field",
        Blame.MESSAGE,
    ),
    "reference.too_large": Code(
        "the record is larger than the limits of `references` allow, or nested deeper",
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
        "send an identifier instead and join the metadata downstream",
        Blame.MESSAGE,
    ),
    "reference.not_allowed": Code(
        "the message asks for a label set or a tenant that its route does not allow",
        "allow it in the route, or fix the producer",
        Blame.MESSAGE,
    ),
    "reference.unknown_label_set": Code(
        "the message asks for a label set that is not loaded",
        "load the label set (`label_sets`), or fix the name; Clipstream never substitutes a "
        "default",
        Blame.MESSAGE,
    ),
    "reference.no_route": Code(
        "no route matches the reference",
        "add a route for it, or add a last route that skips everything else",
        Blame.MESSAGE,
    ),
    "fetch.bucket_not_allowed": Code(
        "no store's `allowed_buckets` name the bucket (`s3.allowed_buckets`, or `allowed_buckets` "
        "of an entry of `stores`), or `https.allowed_hosts` does not name the host of an "
        "`https://` reference",
        "allow the bucket or the host, or fix the producer",
        Blame.MESSAGE,
    ),
    "fetch.address_not_allowed": Code(
        "the name of an `https://` reference's host leads to an address that is not public",
        "fix the producer or the host's DNS records; only public addresses are read",
        Blame.OBJECT,
    ),
    "fetch.redirected": Code(
        "the web server redirects to where no reference may lead: to a host that is not in "
        "`https.allowed_hosts`, to another scheme or port, or too often",
        "allow the host that the message names, or send the URL of the image itself",
        Blame.OBJECT,
    ),
    "fetch.host_failed": Code(
        "a host that only a pattern of `https.allowed_hosts` names did not serve the image, while "
        "other web servers answered",
        "look at the host, then replay; name the host itself, and outages of it are waited for",
        Blame.MESSAGE,
    ),
    "fetch.not_found": Code(
        "the object, or the requested version of it, does not exist",
        "check that uploads finish before their notifications, and check lifecycle rules",
        Blame.OBJECT,
    ),
    "fetch.no_bucket": Code(
        "the bucket does not exist, while the store serves other buckets",
        "create the bucket, or narrow the pattern in `allowed_buckets` of its store that admits "
        "the bucket",
        Blame.MESSAGE,
    ),
    "fetch.forbidden": Code(
        "the store refuses this object while it serves other objects",
        "grant s3:GetObject (and s3:GetObjectVersion) on the object",
        Blame.OBJECT,
    ),
    "fetch.locked": Code(
        "the store cannot decrypt this object for the worker, while it serves other objects",
        "grant kms:Decrypt on the object's key, or enable the key; objects encrypted with a "
        "customer-provided key (SSE-C) cannot be read",
        Blame.OBJECT,
    ),
    "fetch.superseded": Code(
        "the object has changed since the reference was written (its ETag differs)",
        "nothing, if the newer version has its own reference; otherwise send version ids",
        Blame.OBJECT,
    ),
    "fetch.archived": Code(
        "the object is in an archive tier and must be restored first",
        "restore the object and replay",
        Blame.OBJECT,
    ),
    "fetch.empty": Code("the object has no bytes", "check the uploader", Blame.OBJECT),
    "fetch.too_large": Code(
        "the object exceeds `fetch.max_bytes`",
        "raise the limit if such images are legitimate",
        Blame.OBJECT,
    ),
    "fetch.timeout": Code(
        "the object did not arrive within `fetch.deadline_s`, while other objects did",
        "check the store's latency; raise the deadline",
    ),
    "fetch.failed": Code(
        "the store failed on this object repeatedly, while it served other objects",
        "check the store's logs, then replay",
    ),
    "decode.unsupported_format": Code(
        "the file is in no format that `decode.formats` lists",
        "do what the message says to install or set; the message and the header `dlq.format` name "
        "the recognised format, and clipstream_unsupported_formats_total counts by format",
        Blame.IMAGE,
    ),
    "decode.unsupported_encoding": Code(
        "the object's Content-Encoding names a coding other than gzip, deflate, br and zstd, or "
        "more than four codings",
        "upload such objects without a coding, or fix the header",
        Blame.IMAGE,
    ),
    "decode.unsupported_variant": Code(
        "the file is valid and its format is allowed, but the decoder lacks this variant or would "
        "misread it; the message names the variant",
        "convert such images before upload, or update Pillow",
        Blame.IMAGE,
    ),
    "decode.too_large": Code(
        "the header announces more pixels than `decode.max_megapixels`, or the file has more "
        "bytes than `fetch.max_bytes` once its Content-Encoding is undone",
        "if such images are legitimate, raise the limit that the message names, and the decoders' "
        "memory with it",
        Blame.IMAGE,
    ),
    "decode.truncated": Code(
        "the file ends before its image does",
        "check the uploader",
        Blame.IMAGE,
    ),
    "decode.corrupt": Code(
        "the file's data are damaged and cannot be decoded",
        "check the uploader",
        Blame.IMAGE,
    ),
    "decode.animation": Code(
        "the file has several frames and `decode.animations` is `reject`",
        "review the file by other means; its first frame says little",
        Blame.IMAGE,
    ),
    "decode.crashed": Code(
        "the decoder process crashed on this file, twice",
        "keep the file, report it to the decoder's authors, and update Pillow",
        Blame.IMAGE,
    ),
    "decode.timeout": Code(
        "decoding took longer than `decode.deadline_s`, and the decoder was killed",
        "raise the deadline if the file is legitimate",
        Blame.IMAGE,
    ),
    "decode.out_of_memory": Code(
        "decoding needed more than `decode.max_memory_mib`",
        "raise the limit if the file is legitimate",
        Blame.IMAGE,
    ),
    "encode.non_finite": Code(
        "the model's output for this image is not finite, in two attempts",
        "keep the image and check `model.precision`",
    ),
    "encode.failed": Code(
        "the model fails on this image and not on others of the same batch",
        "keep the image and look at the worker's log",
    ),
    "internal.unexpected": Code(
        "this reference brought out a defect of Clipstream",
        "look at the traceback in the worker's log, report it, and replay after the update",
    ),
    "internal.process_died": Code(
        "each process that worked on this object of a backfill died",
        "keep the object, look at the workers' logs, and report it",
    ),
    "publish.too_large": Code(
        "the outcome exceeds the output topic's max.message.bytes",
        "raise the topic's limit (`clipstream doctor` compares the limits), or send less metadata",
    ),
}
