"""A server for the console: the demo's model, two label sets, and a stream as a test says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.labels.label_set import LabelSetsPolicy
from tests.rigs.root import ROOT
from tests.rigs.serve.application import served
from tests.rigs.serve.listening import listening
from tests.rigs.serve.scripted_api import ScriptedApi
from workers.demo import train
from workers.demo.shapes import SHAPES, shape_image
from workers.settings.loading import Settings

DEMO_LABELS = ROOT / "workers/demo/labels.yaml"


def _all(colours: tuple[str, ...], shapes: tuple[str, ...]) -> str:
    return ", ".join(f"a {colour} {shape}" for colour in colours for shape in shapes)


WARM = ("red", "orange", "yellow")
COLD = ("blue", "green", "purple", "black", "white")

# Several questions of one image, each by itself, as in a label set for moderation.
SIGNALS = f"""
name: signals
decision: independent
actions: [block, review, allow]
default_action: allow
unclassified_action: review
act_action: block
review_action: review
labels:
  - name: warm colour
    prompts: [{_all(WARM, SHAPES)}]
    contrast: [{_all(COLD, SHAPES)}]
    review_threshold: 0.6
    act_threshold: 0.95
  - name: round
    prompts: [{_all((*WARM, *COLD), ("circle", "ring"))}]
    contrast: [{_all((*WARM, *COLD), ("square", "triangle", "star", "cross"))}]
    review_threshold: 0.8
  - name: spiky
    prompts: [{_all((*WARM, *COLD), ("star", "cross"))}]
    contrast: [{_all((*WARM, *COLD), ("circle", "square", "ring", "triangle"))}]
"""


def load_encoder() -> ClipEncoder:
    return ClipEncoder.load(
        ModelPolicy(directory=train.MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )


def settings_in(folder: Path, **sections: Any) -> Settings:
    """Settings with the demo's label set and ``SIGNALS``, whose file is written to ``folder``."""
    signals = folder / "signals.yaml"
    signals.write_text(SIGNALS)
    policy = LabelSetsPolicy(paths=(DEMO_LABELS, signals), text_cache_dir=None)
    return served(label_sets=policy, **sections)


@contextmanager
def console_server(folder: Path, encoder: ClipEncoder) -> Iterator[tuple[str, ScriptedApi]]:
    """The address of a server, and the script of its stream."""
    api = ScriptedApi()
    with listening(settings_in(folder), encoder, around=api.around) as server:
        yield server.url, api


def drawing(label: str, seed: int = 1, size: tuple[int, int] = (480, 360)) -> bytes:
    """A PNG of a shape such as ``red star``, in the middle of an image of ``size``."""
    side = min(size)
    shape = shape_image(np.random.default_rng(seed), label, (side, side))
    canvas = shape.resize(size)
    ground: Any = shape.getpixel((2, 2))
    canvas.paste(ground, (0, 0, *size))
    canvas.paste(shape, ((size[0] - side) // 2, (size[1] - side) // 2))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()
