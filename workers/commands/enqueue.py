"""`clipstream enqueue`: publish references for the objects of a prefix or of a list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rich.console import Console

from pipeline.adapters.https.policy import ALLOW_LIST
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt, Reject
from pipeline.fetch.stores import absent_from
from pipeline.formats import https_url, strict_json
from pipeline.formats.native import NATIVE
from pipeline.formats.reference import Reference
from pipeline.records import JsonValue
from workers.commands.progress import open_ended
from workers.settings.loading import Settings

Message = dict[str, JsonValue]
"""A native reference as it is published: docs/input-formats.md."""


def run_enqueue(
    settings: Settings,
    console: Console,
    *,
    source: str,
    topic: str | None,
    label_set: str | None,
    limit: int | None,
) -> int:
    """Publish one native reference for each object. Returns how many were acknowledged.

    The record's key is the object's URI without a query, so references of one object keep their
    order. Events have the same key, and no query belongs in them.

    Raises:
        Halt: ``enqueue.*``, before the broker is contacted: the source cannot be read, workers
            would refuse a bucket or a line, or the topic is not an input topic.
        Retry: the broker or the store does not answer.
    """
    target = topic or settings.kafka.input_topics[0]
    if target not in settings.kafka.input_topics:
        raise Halt(
            "enqueue.invalid",
            f"enqueue: {target} is not an input topic (kafka.input_topics: "
            f"{', '.join(settings.kafka.input_topics)}); name one of these",
        )
    asked: Message = {"label_set": label_set} if label_set else {}
    messages = islice(_messages(settings, source, asked), limit)
    count = 0
    progress = open_ended(console)
    with progress, ReferenceProducer(settings.kafka, target) as producer:
        task = progress.add_task("0 references")
        for message in messages:
            producer.send(_key(message), strict_json.dump(message))
            count += 1
            progress.update(task, description=f"{count} references")
        producer.flush()
    console.print(f"{count} references published to {target}", markup=False, highlight=False)
    return count


def _messages(settings: Settings, source: str, asked: Message) -> Iterator[Message]:
    """The messages for the source's objects. Everything that can be checked without the store is
    checked before this returns."""
    if source.startswith("s3://"):
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        if not bucket:
            raise Halt(
                "enqueue.invalid", f"enqueue: {source} names no bucket; write s3://BUCKET/PREFIX"
            )
        store = _s3_store_of(settings, bucket, "")
        return (listed | asked for listed in _listed(store, bucket, prefix))
    path = Path(source)
    if path.exists() and not path.is_file() and not path.is_dir():
        return _read(settings, path, asked)  # a pipe can be read only once
    # The whole file is checked before anything is published, so that a wrong line leaves nothing
    # half done.
    deque(_read(settings, path, asked), maxlen=0)
    return _read(settings, path, asked)


def _key(message: Message) -> bytes:
    uri = message.get("uri") or f"s3://{message['bucket']}/{message['key']}"
    text = str(uri)
    if text.startswith("s3://"):
        return text.encode()
    url = https_url.parse(text, "uri")
    return f"{https_url.PREFIX}{url.host}/{url.path}".encode()


def _check_readable(settings: Settings, read: Reference, where: str) -> None:
    if read.scheme == "s3":
        _s3_store_of(settings, read.bucket, where)
    elif not settings.https.allows(read.bucket):
        raise Halt(
            "enqueue.invalid",
            f"enqueue: {where}host {read.bucket} is not in {ALLOW_LIST}, so workers would refuse "
            "it; allow it first",
        )


def _s3_store_of(settings: Settings, bucket: str, where: str) -> S3Policy:
    store = settings.s3_store_of(bucket)
    if store is None:
        absent = absent_from([each.allow_list for each in settings.s3_stores])
        raise Halt(
            "enqueue.invalid",
            f"enqueue: {where}bucket {bucket} is {absent}, so workers would refuse it; allow it "
            "first",
        )
    return store


def _listed(store: S3Policy, bucket: str, prefix: str) -> Iterator[Message]:
    admin = S3Admin(store)
    try:
        for listed in admin.list_objects(bucket, prefix):
            if listed.key.endswith("/") and listed.size_bytes == 0:
                continue  # a folder marker
            message: Message = {"bucket": bucket, "key": listed.key}
            yield message | ({"etag": listed.etag} if listed.etag else {})
    finally:
        admin.close()


def _read(settings: Settings, path: Path, asked: Message) -> Iterator[Message]:
    """Each line is an s3:// or https:// URI, or a native reference as JSON. Blank lines and #
    comments are skipped."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.strip("\r\n")
                if text.strip() and not text.startswith("#"):
                    yield _message(settings, text, asked, f"{path}:{number}")
    except OSError as error:
        raise Halt(
            "enqueue.unreadable",
            f"enqueue: {path} cannot be read ({error.strerror}); name a file, or s3://BUCKET/PREFIX",
        ) from error
    except UnicodeDecodeError as error:
        raise Halt(
            "enqueue.unreadable", f"enqueue: {path} cannot be read as UTF-8; save it as UTF-8"
        ) from error


def _message(settings: Settings, text: str, asked: Message, where: str) -> Message:
    """A line's message, checked as a worker will check it."""
    try:
        if text.startswith(("s3://", https_url.PREFIX)):
            message: JsonValue = {"uri": text}
        else:
            message = strict_json.load(text, settings.references.max_depth)
        if not isinstance(message, dict):
            raise Halt(
                "enqueue.invalid",
                f"enqueue: {where}: neither an s3:// or https:// URI nor a JSON object; write one "
                "of them",
            )
        message |= asked
        read = NATIVE.read(message, "")
    except Reject as reject:
        raise Halt("enqueue.invalid", f"enqueue: {where}: {reject.message}") from reject
    if isinstance(read, Reference):
        _check_readable(settings, read, f"{where}: ")
    return message
