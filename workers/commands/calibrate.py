"""`clipstream calibrate`: quantize the model to int8, with images like those that it will see."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from pipeline.adapters.clip.encoder import find_checkpoint, model_threads
from pipeline.adapters.clip.model import read_model
from pipeline.adapters.clip.vision.calibration import calibrate, split
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt, Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import Decoder
from pipeline.records import ImageGeometry, Pixels
from workers.decoding import decoding
from workers.settings.loading import Settings

IN_FLIGHT = 8
"""Images that are decoded at a time."""


def run_calibrate(
    settings: Settings, console: Console, *, sources: Sequence[Path], output: Path, limit: int
) -> None:
    """Calibrate on up to ``limit`` different images of files and folders, and write the directory
    for ``model.calibration``. The images are drawn in the same way each time.

    Raises:
        Halt: ``calibrate.*``, ``model.*``: nothing is written.
    """
    if output.exists():
        raise Halt("calibrate.failed", f"calibrate: {output} exists; name a new directory")
    files = _files(sources)
    checkpoint = find_checkpoint(settings.model)
    model = read_model(checkpoint)
    geometry = model.preprocessing.geometry
    with Progress(console=console) as progress:
        task = progress.add_task("decoding", total=min(limit, len(files)))
        decoded = _decode(settings, geometry, files, limit, progress, task)
        images, refused = asyncio.run(decoded)
    for code, count in refused.most_common():
        console.print(f"{count} files passed over: {code}", markup=False, highlight=False)
    calibrating, held_out = split(images)
    console.print(f"calibrating on {len(calibrating)} images, {len(held_out)} held out")
    facts = calibrate(
        VisionTower(model),
        checkpoint,
        calibrating,
        held_out,
        output,
        threads=model_threads(settings.model),
        min_fidelity=settings.model.min_fidelity,
    )
    console.print(
        f"{output} written: on the held-out images, int8 keeps a centred cosine with fp32 of "
        f"{facts.fidelity:.4f} or more\nuse it with: -s model.precision=int8 "
        f"-s model.calibration={output}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _files(sources: Sequence[Path]) -> list[Path]:
    files: set[Path] = set()
    for source in sources:
        if not source.exists():
            raise Halt(
                "calibrate.no_images", f"calibrate: {source} does not exist; name a file or folder"
            )
        files |= {source} if source.is_file() else {p for p in source.rglob("*") if p.is_file()}
    ordered = sorted(files)
    random.Random(0).shuffle(ordered)  # noqa: S311 - a draw that can be repeated
    return ordered


async def _decode(
    settings: Settings,
    geometry: ImageGeometry,
    files: Sequence[Path],
    limit: int,
    progress: Progress,
    task: TaskID,
) -> tuple[Pixels, Counter[str]]:
    """Pixels uint8 [images, side, side, 3], and the number of files without pixels, by code."""
    refused: Counter[str] = Counter()

    async def pixels_of(decoder: Decoder, body: bytes) -> Pixels | None:
        try:
            return (await decoder.decode(body, geometry)).pixels
        except Reject as reject:
            refused[reject.code] += 1
            return None

    images: list[Pixels] = []
    async with decoding(settings.decode, PrometheusMeter(IMAGE_METRICS)) as decoder:
        bodies = _different(files)
        while some := list(islice(bodies, IN_FLIGHT)):
            decoded = await asyncio.gather(*(pixels_of(decoder, body) for body in some))
            images += [each for each in decoded if each is not None]
            progress.update(task, completed=len(images))
            if len(images) >= limit:
                break
    side = geometry.crop
    return np.array(images[:limit], np.uint8).reshape(-1, side, side, 3), refused


def _different(files: Sequence[Path]) -> Iterator[bytes]:
    """Contents of the files, each content once. A held-out image that was also calibrated on would
    prove nothing."""
    seen: set[bytes] = set()
    for file in files:
        try:
            body = file.read_bytes()
        except OSError as error:
            raise Halt(
                "calibrate.no_images", f"calibrate: {file} cannot be read ({error.strerror})"
            ) from error
        digest = hashlib.sha256(body).digest()
        if digest not in seen:
            seen.add(digest)
            yield body
