"""Recorded embeddings: on the topic, in a backfill's output, or in Parquet files."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.adapters.kafka.recorded.events import ScoredImage, embeddings, scored_images
from pipeline.backfill import layout
from pipeline.backfill.report.samples import SampledObject
from pipeline.errors import Halt
from pipeline.records import ModelIdentity
from workers.backfill.output import Output, open_output
from workers.commands.labels.finding import require_same
from workers.settings.loading import Settings

if TYPE_CHECKING:
    from pipeline.adapters.parquet.committed import CommittedFile

TOPIC = "topic"
EVENTS = "events"
"""Of places: no embeddings at all, but the results that the events on the topic hold."""
_VIEWS = "have several views, and only their centres are compared"
BLOCK = 4_096
"""Embeddings that are scored at a time."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image that was embedded once. ``object`` is None for an image on a web server."""

    uri: str
    object: SampledObject | None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some embeddings [images, dimension], and the times of their images in Unix seconds, NaN
    where none is known."""

    vectors: npt.NDArray[np.floating]
    images: Sequence[FoundImage]
    times_s: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Source:
    """Embeddings of one model. ``blocks`` can be read once. ``notes`` say what is left out.
    ``images`` were classified, None if that is not known: some may have no embedding any more."""

    name: str
    model: ModelIdentity
    blocks: Iterator[Block]
    notes: tuple[str, ...] = ()
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images count. ``label_set`` is the one that must have scored them, None: any."""

    label_set: str | None
    since: datetime | None = None
    newest: int | None = None
    until: datetime | None = None


def open_source(settings: Settings, place: str, selection: Selection) -> Source:
    """``topic``, ``s3://BUCKET/PREFIX`` of a backfill, or a folder or file of its Parquet files.

    Raises:
        Halt: ``label_set.no_embeddings``: there are none to compare; or the place cannot be read.
        Retry: the broker does not answer.
    """
    if place == TOPIC:
        return _topic(settings, selection)
    if importlib.util.find_spec("pyarrow") is None:
        raise Halt(
            "backfill.packages_missing",
            "pyarrow is not installed, which reads Parquet; install clipstream[backfill]",
        )
    return _parquet(settings, place, selection)


def no_embedding(place: str, why: str) -> Halt:
    """There is nothing to compare."""
    return Halt("label_set.no_embeddings", f"{place}: no embedding to compare: {why}")


def _topic(settings: Settings, selection: Selection) -> Source:
    kafka = settings.kafka
    place = kafka.output_topics.embeddings
    found = scored_images(
        kafka, selection.label_set, selection.since, selection.newest, selection.until
    )
    if found.model is None:
        why = "the classifications topic has no image"
        if found.unscored:
            why = (
                f"label set {selection.label_set!r} scored none of {found.unscored} images; "
                "compare on all with --all-images"
            )
        raise no_embedding(place, why)
    notes = []
    if found.others:
        notes.append(f"{found.others} images of other models are left out")
    if found.unscored:
        notes.append(f"{found.unscored} images were not scored with {selection.label_set}")
    if with_views := sum(image.has_views for image in found.images.values()):
        notes.append(f"{with_views} images {_VIEWS}")
    blocks = _blocks_of_topic(settings, found.images, selection)
    return Source(place, found.model, blocks, tuple(notes), len(found.images))


def _blocks_of_topic(
    settings: Settings, images: Mapping[str, ScoredImage], selection: Selection
) -> Iterator[Block]:
    vectors: list[npt.NDArray[np.floating]] = []
    seen: list[ScoredImage] = []
    for own_id, event in embeddings(settings.kafka, images, selection.since):
        vectors.append(event.vector)
        seen.append(images[own_id])
        if len(seen) == BLOCK:
            yield _block(vectors, seen)
            vectors, seen = [], []
    if seen:
        yield _block(vectors, seen)


def _block(vectors: Sequence[npt.NDArray[np.floating]], seen: Sequence[ScoredImage]) -> Block:
    return Block(
        np.stack([each.astype(np.float64) for each in vectors]),
        [found_image(each) for each in seen],
        np.array([each.at_s for each in seen]),
    )


def found_image(scored: ScoredImage) -> FoundImage:
    """The image with its place in a store, if it is in one."""
    uri = scored.uri or "(no URI)"
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3":
        return FoundImage(uri, None)
    found = SampledObject(bucket=bucket, key=key, version_id=scored.version_id, etag=scored.etag)
    return FoundImage(uri, found)


def _parquet(settings: Settings, place: str, selection: Selection) -> Source:
    files = _files(settings, place)
    first = next(files, None)
    if first is None:
        raise no_embedding(place, "it has no data file of a backfill")
    model = first.footer.identity.of_model
    blocks = _blocks_of_files(place, model, chain([first], files), selection)
    notes = (f"images of the job {_VIEWS}",) if first.has_views else ()
    return Source(place, model, blocks, notes)


def _files(settings: Settings, place: str) -> Iterator[CommittedFile]:
    from pipeline.adapters.parquet.committed import CommittedFile

    if place.startswith("s3://"):
        with contextlib.closing(open_output(settings, Output.of(place))) as folder:
            for name in folder.names(layout.DATA):
                if layout.shard_of(name) is not None and (stored := folder.read(name)) is not None:
                    yield CommittedFile(stored.body, name)
        return
    path = Path(place)
    within = path / layout.DATA if (path / layout.DATA).is_dir() else path
    for file in sorted(within.glob("*.parquet")) if within.is_dir() else [path]:
        try:
            body = file.read_bytes()
        except OSError as error:
            raise no_embedding(place, f"{file} cannot be read ({error.strerror})") from error
        yield CommittedFile(body, str(file))


def _blocks_of_files(
    place: str,
    model: ModelIdentity,
    files: Iterator[CommittedFile],
    selection: Selection,
) -> Iterator[Block]:
    from pipeline.adapters.parquet.committed import embedded

    left = math.inf if selection.newest is None else selection.newest
    for file in files:
        require_same(file.footer.identity.of_model, model)
        if not file.has_embeddings:
            raise no_embedding(place, "the job was run without embeddings")
        for vectors, objects in embedded(file, selection.label_set, BLOCK):
            count = int(min(len(objects), left))
            images = [FoundImage(each.uri, each) for each in objects[:count]]
            yield Block(vectors[:count], images, np.full(count, np.nan))
            left -= count
            if not left:
                return
