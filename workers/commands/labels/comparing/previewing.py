"""Scores the images of a folder, for a contact sheet by label and score."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from pipeline.adapters.jpeg import as_jpeg
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt, Reject
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import Encoder
from pipeline.records import LabelSetResult
from workers.label_sets import load_scoring
from workers.settings.loading import Settings
from workers.stages import Looking, load_encoder, looking_by

AT_ONCE = 16
"""Images between reading and scoring."""
EDGE_PX = 160


@dataclass(frozen=True, slots=True)
class Previewed:
    """One image. ``picture`` is a data URI."""

    name: str
    result: LabelSetResult
    picture: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An image under one label. ``action`` is what that label calls for, None below its
    thresholds."""

    image: Previewed
    score: float
    action: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a label set makes of a folder. ``refused`` are the files without a result, and why."""

    compiled: CompiledLabelSet
    encoder: Encoder
    images: tuple[Previewed, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def label_set(self) -> LabelSet:
        return self.compiled.label_set

    def by_label(self) -> Iterator[tuple[str, list[Shown]]]:
        """Each label's images, best first. Labels without images are left out."""
        for place, label in enumerate(self.label_set.labels):
            shown = []
            for image in self.images:
                scores = [each.score for each in image.result.scores]
                action = label.action(scores[place])
                if action is not None or scores[place] == max(scores):
                    shown.append(Shown(image, scores[place], action))
            if shown:
                yield label.name, sorted(shown, key=lambda each: -each.score)

    def values(self, each_label: int) -> dict[str, object]:
        """What the page needs."""
        return {
            "preview": self,
            "label_set": self.label_set,
            "model": self.encoder.model,
            "decisions": Counter(each.result.decision for each in self.images),
            "each_label": each_label,
        }


def run_preview(
    settings: Settings,
    label_set: Path,
    folder: Path,
    limit: int,
    console: Console,
    load_model: Callable[[Settings], Encoder] = load_encoder,
) -> Preview:
    """Score the images of a folder as a worker does. Runs an event loop.

    Raises:
        Halt: ``label_set.no_images``; the label set or the model cannot be used.
    """
    files = sorted(each for each in folder.rglob("*") if each.is_file())[:limit]
    encoder = load_model(settings)
    policy = settings.label_sets.model_copy(update={"paths": (label_set,)})
    (compiled,) = load_scoring(policy, encoder.model, encoder.encode_texts).scoring
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("looking", total=len(files))
        running = _previewed(settings, encoder, compiled, files, lambda: progress.advance(task))
        found = asyncio.run(running)
    images = tuple(each for each in found if isinstance(each, Previewed))
    refused = tuple(each for each in found if not isinstance(each, Previewed))
    for name, why in refused:
        console.print(f"[yellow]not shown:[/] {escape(f'{name}: {why}')}", soft_wrap=True)
    if not images:
        raise Halt("label_set.no_images", f"{folder}: has no image that can be decoded")
    return Preview(compiled, encoder, images, refused)


async def _previewed(
    settings: Settings,
    encoder: Encoder,
    compiled: CompiledLabelSet,
    files: Sequence[Path],
    advance: Callable[[], object],
) -> list[Previewed | tuple[str, str]]:
    places = asyncio.Semaphore(AT_ONCE)
    async with looking_by(settings, encoder, PrometheusMeter(IMAGE_METRICS)) as seeing:

        async def one(file: Path) -> Previewed | tuple[str, str]:
            async with places:
                try:
                    return await _one(seeing, compiled, file)
                except (Reject, OSError) as failure:
                    return file.name, str(failure)
                finally:
                    advance()

        return await asyncio.gather(*map(one, files))


async def _one(seeing: Looking, compiled: CompiledLabelSet, file: Path) -> Previewed:
    body = await asyncio.to_thread(file.read_bytes)
    looked = await seeing.look(body)
    whole = await seeing.decoder.whole(body, EDGE_PX)
    picture = base64.b64encode(await asyncio.to_thread(as_jpeg, whole.pixels)).decode()
    result = compiled.judge(looked)
    return Previewed(file.name, result, f"data:image/jpeg;base64,{picture}")
