"""`python -m tests.benchmarks.drift`: what a reference of drift costs an image.

CPU time of scoring alone, and of scoring with the counts of a reference and its metrics, in turns
on the same embeddings. Random embeddings of 512 dimensions.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.drift.collecting import Collector
from pipeline.drift.reference import ModelReference, Reference
from pipeline.drift.watching import WatchedScoring
from pipeline.labels.blocks import score_block
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import STREAM_WORKER
from pipeline.records import Looked
from pipeline.rules import Scoring
from tests.benchmarks.figures import Figure, show
from tests.rigs.root import ROOT
from tests.rigs.stages.looked import looked_at

FILES = ("deploy/examples/label-sets/moderation.yaml", "workers/demo/labels.yaml")
IMAGES = 2_000
ROUNDS = 7


def measure(file: Path) -> Figure:
    """What one label set's counts cost an image, beyond its scores."""
    encoder = MemoryEncoder(dimension=512)
    (label_set,) = load_label_sets([file])
    scoring = compile_label_sets([label_set], encoder.encode_texts, encoder.model, True)
    (compiled,) = scoring
    found = _vectors()
    collector = Collector()
    collector.add(score_block(compiled, found).scores, [], found)
    collected = collector.result()
    assert collected is not None
    labels = [label.name for label in label_set.labels]
    made = collected.reference(
        labels,
        name=label_set.name,
        version=label_set.version,
        source="",
        window=(None, None),
    )
    model = ModelReference(name=encoder.model.name, revision=encoder.model.revision)
    watched = WatchedScoring(
        scoring,
        {label_set.name: label_set.version},
        Reference(model=model, label_sets=(made,)),
        encoder.model,
        PrometheusMeter(STREAM_WORKER),
    )
    images = [looked_at(each) for each in found]
    names = (label_set.name,)
    rounds = [_us(watched, names, images) - _us(scoring, names, images) for _ in range(ROUNDS)]
    return Figure.median(f"drift.{label_set.name}: {len(labels)} labels", rounds, "us/image")


def _us(scoring: Scoring, names: tuple[str, ...], images: list[Looked]) -> float:
    began = time.process_time()
    for each in images:
        scoring.judge(names, each)
    return 1e6 * (time.process_time() - began) / len(images)


def _vectors() -> npt.NDArray[np.float32]:
    found = np.random.default_rng(1).normal(size=(IMAGES, 512))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def main() -> None:
    figures = [measure(ROOT / file) for file in FILES]
    show(figures, "A reference of drift", Console())


if __name__ == "__main__":
    main()
