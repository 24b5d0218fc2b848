"""Embeds the images of a sample by the stages of the workers, so that scores are the stream's."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.adapters.samples.embeddings import EmbeddingFile
from pipeline.errors import Halt, Reject
from pipeline.evaluation.sample import LabelledImage, Sample
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import Encoder
from pipeline.records import Vector
from workers.settings.loading import Settings
from workers.stages import looking_by

AT_ONCE = 64
"""Images between reading and encoding."""
CACHE = Path("~/.cache/clipstream/image-embeddings")
SHOWN_REFUSALS = 10


@dataclass(frozen=True, slots=True)
class Refused:
    """An image without an embedding, and why."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embeddings [views, dimension], with the values that are published, of the images at the
    places ``kept`` of the sample. ``firsts`` [kept] are the places of their first views, the
    centres; each is followed by the image's other views. ``hashes`` [kept] are the SHA-256 of the
    files. ``digest`` identifies these contents and their labels."""

    sample: Sample
    kept: tuple[int, ...]
    embeddings: Vector
    firsts: npt.NDArray[np.intp]
    hashes: tuple[str, ...]
    refused: tuple[Refused, ...]
    digest: str

    @property
    def images(self) -> tuple[LabelledImage, ...]:
        return tuple(self.sample.images[place] for place in self.kept)


def embed(settings: Settings, encoder: Encoder, sample: Sample, console: Console) -> Embedded:
    """Embed every image that can be read and decoded, in the views of ``decode.views``, and show
    progress. Embeddings of earlier runs are used again. Runs an event loop.

    Raises:
        Halt: ``sample.invalid``: no image can be used; or as ``workers.stages.looking``.
    """
    seen = _Seen(sample)
    identity = _identity(settings, encoder)
    cache = EmbeddingFile(CACHE, identity, encoder.model.dimension)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading", total=len(sample.images))
        for place in range(len(sample.images)):
            if (body := seen.read(place)) is not None:
                seen.hashes[place] = hashlib.sha256(body).hexdigest()
                if (known := cache.get(seen.hashes[place])) is not None:
                    seen.vectors[place] = known
            progress.advance(task)
        missing = [place for place in seen.hashes if place not in seen.vectors]
        progress.update(task, description="embedding", completed=0, total=len(missing))
        try:
            if missing:
                embedding = _embed(settings, encoder, seen, missing, lambda: progress.advance(task))
                asyncio.run(embedding)
        finally:
            for place in missing:
                if place in seen.vectors:
                    cache.add(seen.hashes[place], seen.vectors[place])
            cache.close()
    return seen.result()


class _Seen:
    """What has become of each image so far, by its place in the sample."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.hashes: dict[int, str] = {}
        self.vectors: dict[int, Vector] = {}
        """[views, dimension] of each image."""
        self.refused: dict[int, Refused] = {}

    def read(self, place: int) -> bytes | None:
        image = self.sample.images[place]
        try:
            return image.read()
        except OSError as error:
            message = f"cannot be read ({error.strerror or error})"
            self.refused[place] = Refused(image.name, "unreadable", message)
            return None

    def result(self) -> Embedded:
        kept = sorted(self.vectors)
        refused = tuple(self.refused[place] for place in sorted(self.refused))
        if not kept:
            why = "; ".join(f"{each.name}: {each.message}" for each in refused[:SHOWN_REFUSALS])
            raise Halt("sample.invalid", f"sample: no image can be used: {why}")
        digest = hashlib.sha256()
        for line in sorted(
            json.dumps([self.hashes[place], sorted(self.sample.images[place].labels)])
            for place in kept
        ):
            digest.update(f"{line}\n".encode())
        vectors = [self.vectors[place] for place in kept]
        firsts = np.cumsum([0, *map(len, vectors[:-1])])
        hashes = tuple(self.hashes[place] for place in kept)
        return Embedded(
            self.sample,
            tuple(kept),
            np.concatenate(vectors),
            firsts,
            hashes,
            refused,
            digest.hexdigest(),
        )


async def _embed(
    settings: Settings,
    encoder: Encoder,
    seen: _Seen,
    missing: Sequence[int],
    advance: Callable[[], None],
) -> None:
    turns = iter(missing)
    async with looking_by(settings, encoder, PrometheusMeter(IMAGE_METRICS)) as seeing:

        async def take_turns() -> None:
            for place in turns:
                if (body := seen.read(place)) is not None:
                    try:
                        looked = await seeing.look(body)
                        views = looked.views
                        vectors = looked.embedding[None] if views is None else views.embeddings
                        seen.vectors[place] = vectors.astype(np.float32)
                    except Reject as reject:
                        name = seen.sample.images[place].name
                        seen.refused[place] = Refused(name, reject.code, reject.message)
                advance()

        await asyncio.gather(*(take_turns() for _ in range(min(AT_ONCE, len(missing)))))


def _identity(settings: Settings, encoder: Encoder) -> str:
    """All that an embedding, or its refusal, depends on beside the bytes of its image."""
    model = encoder.model
    decode = settings.decode.model_dump(exclude={"processes", "deadline_s", "max_memory_mib"})
    return json.dumps(
        [
            *(model.name, model.revision, model.precision, model.engine, model.dimension),
            *(encoder.geometry.resize, encoder.geometry.crop, settings.events.embedding_dtype),
            *(decode, version("clipstream")),
        ],
        default=str,
        sort_keys=True,
    )
