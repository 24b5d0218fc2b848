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
from workers.demo.shapes import shape_image
from workers.settings.loading import Settings

SHAPES = ROOT / "workers/demo/labels.yaml"

# Several questions of one image, each by itself, as in a label set for moderation.
SIGNALS = """
name: signals
decision: independent
actions: [block, review, allow]
default_action: allow
unclassified_action: review
act_action: block
review_action: review
labels:
  - name: warning colour
    prompts: [a red circle, a red square, a red triangle, a red star, a red cross, a red ring]
    contrast: [a blue circle, a green square, a purple triangle, a black star, a white cross]
    review_threshold: 0.6
    act_threshold: 0.95
  - name: round
    prompts: [a red circle, a blue circle, a green circle, a black circle, a yellow circle]
    contrast: [a red square, a blue triangle, a green star, a black cross]
    review_threshold: 0.8
  - name: pointed
    prompts: [a red star, a blue star, a green triangle, a yellow triangle]
    contrast: [a red circle, a blue ring, a green circle, a yellow square]
"""


def load_encoder() -> ClipEncoder:
    return ClipEncoder.load(
        ModelPolicy(directory=train.MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )


def settings_in(folder: Path, **sections: Any) -> Settings:
    """Settings with the demo's label set and ``SIGNALS``, whose file is written to ``folder``."""
    signals = folder / "signals.yaml"
    signals.write_text(SIGNALS)
    policy = LabelSetsPolicy(paths=(SHAPES, signals), text_cache_dir=None)
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
