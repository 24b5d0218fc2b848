"""What others make of the same photographs, in one process each: transformers' zero-shot pipeline,
and Ray Data with a plain processor and model.

Run as a program it is the process of one peer: it prints its rate once a line on the standard
output, for each turn that it is given on the standard input.
"""

from __future__ import annotations

import argparse
import io
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from tests.decoding_rig import photos
from workers.demo.processes import command_environment

NAMES_OF_LABELS = ("cat", "dog", "car", "tree", "house", "bird", "boat", "cup")
LABELS = tuple(f"a photo of a {name}" for name in NAMES_OF_LABELS)
PIPELINE_BATCHES = (1, 32)
RAY_BATCH = 32
START_S = 120.0


class Peer(Protocol):
    """Takes files, classifies them."""

    def __call__(self, files: Sequence[bytes]) -> None: ...


class ZeroShotPipeline:
    """transformers' pipeline, as its documentation shows it."""

    def __init__(self, checkpoint: Path, batch: int) -> None:
        from transformers import pipeline

        self._batch = batch
        self._pipeline: Any = pipeline(
            "zero-shot-image-classification", model=str(checkpoint), device="cpu"
        )

    def __call__(self, files: Sequence[bytes]) -> None:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        answers = self._pipeline(
            images, candidate_labels=list(LABELS), batch_size=self._batch, hypothesis_template="{}"
        )
        if len(list(answers)) != len(files):
            raise RuntimeError("the pipeline lost images")


class RayDataModel:
    """The actor of a plain Ray Data job: processor and model on each block."""

    def __init__(self, checkpoint: str) -> None:
        from transformers import AutoTokenizer, CLIPModel
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        torch.set_num_threads(_threads())
        self._model: Any = CLIPModel.from_pretrained(checkpoint)
        self._processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
        tokens = AutoTokenizer.from_pretrained(checkpoint)(
            list(LABELS), padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            self._texts = self._model.get_text_features(**tokens).pooler_output

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in block["file"]]
        pixels = self._processor(images, return_tensors="pt")
        with torch.inference_mode():
            vectors = self._model.get_image_features(**pixels).pooler_output
            scores = (vectors @ self._texts.T).softmax(dim=-1)
        return {"scores": scores.numpy()}


class RayData:
    """A plain Ray Data job over files in memory; its start counts apart."""

    def __init__(self, checkpoint: Path) -> None:
        import ray

        ray.init(num_cpus=_threads(), include_dashboard=False, log_to_driver=False)
        self._checkpoint = str(checkpoint)

    def __call__(self, files: Sequence[bytes]) -> None:
        import ray.data

        data = ray.data.from_items([{"file": file} for file in files]).map_batches(
            RayDataModel,
            fn_constructor_args=(self._checkpoint,),
            batch_size=RAY_BATCH,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        rows = sum(len(batch["scores"]) for batch in data.iter_batches(batch_size=RAY_BATCH))
        if rows != len(files):
            raise RuntimeError("Ray Data lost images")


def _threads() -> int:
    return torch.get_num_threads()


def peer_of(name: str, checkpoint: Path) -> Peer:
    if name == "ray_data":
        return RayData(checkpoint)
    return ZeroShotPipeline(checkpoint, int(name.removeprefix("pipeline_")))


NAMES = (*(f"pipeline_{batch}" for batch in PIPELINE_BATCHES), "ray_data")


@contextmanager
def running(name: str, checkpoint: Path) -> Iterator[Callable[[int], float]]:
    """A peer's process; the function classifies so many images and returns images a second."""
    command = [sys.executable, "-m", __name__, name, str(checkpoint)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=command_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, answers = process.stdin, process.stdout

    def turn(images: int) -> float:
        given.write(f"{images}\n")
        given.flush()
        return float(answers.readline())

    try:
        turn(RAY_BATCH)  # loads what it loads late
        yield turn
    finally:
        given.close()
        process.wait(START_S)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    peer = peer_of(arguments.name, arguments.checkpoint)
    files = itertools.cycle(photos())
    for line in sys.stdin:
        batch = list(itertools.islice(files, int(line)))
        begun = time.monotonic()
        peer(batch)
        print(len(batch) / (time.monotonic() - begun), flush=True)


if __name__ == "__main__":
    main()
