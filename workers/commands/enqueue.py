"""`clipstream enqueue`: publish references for objects of a prefix, or of a list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.adapters.kafka_references import ReferenceProducer
from pipeline.adapters.s3_admin import S3Admin
from pipeline.errors import Halt
from workers.settings import Settings

Reference = dict[str, str]


def run_enqueue(
    settings: Settings,
    console: Console,
    *,
    source: str,
    topic: str | None,
    label_set: str | None,
    limit: int | None,
) -> int:
    """Publish one native reference an object; returns how many were acknowledged.

    The record's key is the object's URI, so that references of one object keep their order.

    Raises:
        Halt: the source cannot be read, or the topic is not an input topic.
    """
    target = topic or settings.kafka.input_topics[0]
    if target not in settings.kafka.input_topics:
        raise Halt(
            "settings.invalid",
            f"enqueue: {target} is no input topic (kafka.input_topics: "
            f"{', '.join(settings.kafka.input_topics)})",
        )
    references = _references(settings, source)
    count = 0
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    )
    with progress, ReferenceProducer(settings.kafka, target) as producer:
        task = progress.add_task("0 references")
        for reference in _first(references, limit):
            extra = {"label_set": label_set} if label_set else {}
            uri = reference.get("uri") or f"s3://{reference['bucket']}/{reference['key']}"
            value = json.dumps(reference | extra, ensure_ascii=False).encode()
            producer.send(uri.encode(), value)
            count += 1
            progress.update(task, description=f"{count} references")
        producer.flush()
    console.print(f"{count} references published to {target}")
    return count


def _references(settings: Settings, source: str) -> Iterator[Reference]:
    if source.startswith("s3://"):
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        yield from _listed(settings, bucket, prefix)
        return
    path = Path(source)
    try:
        with path.open(encoding="utf-8") as lines:
            yield from _read(path, lines)
    except (OSError, UnicodeDecodeError) as error:
        raise Halt("enqueue.unreadable", f"enqueue: {path} cannot be read ({error})") from error


def _listed(settings: Settings, bucket: str, prefix: str) -> Iterator[Reference]:
    if not settings.s3.allows(bucket):
        raise Halt(
            "settings.invalid",
            f"enqueue: bucket {bucket} is not in s3.allowed_buckets, so workers would refuse it; "
            "allow it first",
        )
    admin = S3Admin(settings.s3)
    try:
        for listed in admin.list_objects(bucket, prefix):
            if listed.key.endswith("/") and listed.size_bytes == 0:
                continue  # a folder marker
            reference = {"bucket": bucket, "key": listed.key}
            yield reference | ({"etag": listed.etag} if listed.etag else {})
    finally:
        admin.close()


def _read(path: Path, lines: TextIO) -> Iterator[Reference]:
    """A line is an s3:// URI or a native reference as JSON; blank lines and # comments are not."""
    for number, line in enumerate(lines, start=1):
        text = line.strip("\r\n")
        if not text.strip() or text.startswith("#"):
            continue
        if text.startswith("s3://"):
            yield {"uri": text}
            continue
        try:
            reference = json.loads(text)
        except ValueError:
            reference = None
        if not isinstance(reference, dict) or not (
            {"uri"} <= {*reference} or {"bucket", "key"} <= {*reference}
        ):
            raise Halt(
                "enqueue.unreadable",
                f"enqueue: {path}:{number}: neither an s3:// URI nor a JSON reference with uri, or "
                "bucket and key",
            )
        yield reference


def _first(references: Iterable[Reference], limit: int | None) -> Iterator[Reference]:
    for count, reference in enumerate(references):
        if limit is not None and count >= limit:
            return
        yield reference
