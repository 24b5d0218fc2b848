"""What a worker scores is counted in the bins of a reference that fits, and in no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.drift.collecting import MAX_LABELS, Collected, Collector, moved
from pipeline.drift.distance import counted
from pipeline.drift.reference import ModelReference, Reference
from pipeline.drift.watching import TOLD_EVERY, WINDOW, WatchedScoring
from pipeline.errors import Halt
from pipeline.labels.blocks import score_block
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import (
    DRIFT_DECISIONS,
    DRIFT_EMBEDDINGS,
    DRIFT_IMAGES,
    DRIFT_SCORES,
    DRIFT_SHARES,
    DRIFT_UNFIT,
    STREAM_WORKER,
)
from pipeline.records.views import LookedViews, View
from pipeline.routes import Router
from tests.rigs.stages.looked import looked_at
from workers.label_sets import Rules
from workers.stream.drift import DriftWatch

ENCODER = MemoryEncoder(dimension=16)
MODEL = ENCODER.model
SET = parse_label_set(
    {
        "name": "pets",
        "decision": "exclusive",
        "actions": ["review", "allow"],
        "default_action": "allow",
        "act_action": "review",
        "labels": [
            {"name": "cat", "prompts": ["a cat"], "act_threshold": 0.5},
            {"name": "dog", "prompts": ["a dog"]},
        ],
    }
)
SCORING = compile_label_sets([SET], ENCODER.encode_texts, MODEL)
(COMPILED,) = SCORING
VERSIONS = {"pets": SET.version}
IMAGES = 5 * TOLD_EVERY


def vectors(seed: int, count: int = IMAGES, towards: float = 0.0) -> npt.NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, 16))
    found[:, 0] += towards
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def collected(found: npt.NDArray[np.float32], block: int = 64) -> Collected:
    collector = Collector()
    for first in range(0, len(found), block):
        part = found[first : first + block]
        scored = score_block(COMPILED, part)
        decisions = [SET.actions[place] for place in scored.decisions.tolist()]
        collector.add(scored.scores, decisions, part)
    result = collector.result()
    assert result is not None
    return result


def reference(seed: int = 1, model: ModelReference | None = None) -> Reference:
    made = collected(vectors(seed)).reference(
        [label.name for label in SET.labels],
        name="pets",
        version=SET.version,
        source="here",
        window=(None, None),
    )
    model = model or ModelReference(name=MODEL.name, revision=MODEL.revision)
    return Reference(model=model, label_sets=(made,))


def watching(meter: MemoryMeter, about: Reference | None) -> WatchedScoring:
    return WatchedScoring(SCORING, VERSIONS, about, MODEL, meter)


def counts(meter: MemoryMeter, label: str, id: str) -> list[float]:
    series = [each for each in meter.labels(DRIFT_SCORES) if each["label"] == label]
    assert {each["reference"] for each in series} == {id}
    return [
        meter.value(DRIFT_SCORES, **each) or 0.0
        for each in sorted(series, key=lambda each: int(each["bin"]))
    ]


def test_scores_are_counted_by_bin_as_a_hand_counts_them() -> None:
    meter, about = MemoryMeter(STREAM_WORKER), reference()
    watched = watching(meter, about)
    (of_set,) = about.label_sets
    assert counts(meter, "cat", about.id) == [0.0] * len(of_set.labels[0].counts)
    found = vectors(2)
    for each in found:
        assert watched.judge(("pets",), looked_at(each)) == SCORING.judge(
            ("pets",), looked_at(each)
        )
    scores = score_block(COMPILED, found).scores
    for column, label in enumerate(of_set.labels):
        expected = counted(scores[:, column], np.array(label.edges)).tolist()
        assert counts(meter, label.name, about.id) == expected
    assert meter.value(DRIFT_IMAGES, label_set="pets", reference=about.id) == IMAGES
    shares = [
        meter.value(DRIFT_SHARES, **each)
        for each in meter.labels(DRIFT_SHARES)
        if each["label"] == "cat"
    ]
    assert sum(each or 0.0 for each in shares) == pytest.approx(1.0)
    told = meter.value(DRIFT_DECISIONS, label_set="pets", decision="review")
    assert told == of_set.decisions["review"] / IMAGES
    assert meter.value(DRIFT_UNFIT, label_set="pets") == 0.0


def test_embeddings_are_as_far_as_their_mean_and_spread_are() -> None:
    meter, about = MemoryMeter(STREAM_WORKER), reference()
    watched = watching(meter, about)
    found = vectors(2, towards=2.0)
    for each in found:
        watched.judge(("pets",), looked_at(each))
    (of_set,) = about.label_sets
    before = vectors(1).astype(np.float64)
    now = found.astype(np.float64)
    spread = np.sqrt(np.square(before - before.mean(axis=0)).sum(axis=1).mean())
    assert of_set.spread == pytest.approx(spread)
    means = before.mean(axis=0), now.mean(axis=0)
    cosine = 1 - means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    own = np.sqrt(np.square(now - means[1]).sum(axis=1).mean())
    expected = {
        "cosine": cosine,
        "spreads": np.linalg.norm(means[1] - means[0]) / spread,
        "spread": own / spread,
    }
    for measure, value in expected.items():
        told = meter.value(DRIFT_EMBEDDINGS, label_set="pets", measure=measure)
        assert told == pytest.approx(value, abs=1e-6)
    assert expected["spreads"] > 0.3


def test_embeddings_like_those_of_the_reference_are_near() -> None:
    apart = moved(reference().label_sets[0], *_of(vectors(5)))
    # Two means of n images are sqrt(2/n) spreads apart, as a rule.
    assert apart.spreads < 2 * np.sqrt(2 / IMAGES)
    assert apart.spread == pytest.approx(1.0, abs=0.05)


def _of(found: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    result = collected(found)
    return result.mean, result.spread


def test_older_images_fade_away() -> None:
    meter = MemoryMeter(STREAM_WORKER)
    watched = watching(meter, reference())
    for each in (*vectors(2, WINDOW, towards=5.0), *vectors(3, 4 * WINDOW)):
        watched.judge(("pets",), looked_at(each))
    told = meter.values(DRIFT_EMBEDDINGS, label_set="pets", measure="spreads")
    assert max(told) > 0.5
    assert told[-1] < 0.2


def test_images_of_several_views_are_not_counted() -> None:
    meter, about = MemoryMeter(STREAM_WORKER), reference()
    watched = watching(meter, about)
    places = (View("centre", 0, 0, 0, 1, 1), View("tile", 0, 1, 0, 2, 1))
    for each in vectors(2):
        several = replace(looked_at(each), views=LookedViews(places, np.stack([each, each])))
        assert watched.judge(("pets",), several)
    assert sum(counts(meter, "cat", about.id)) == 0
    assert meter.labels(DRIFT_EMBEDDINGS) == []


@pytest.mark.parametrize("why", ["model", "version", "name"])
def test_a_reference_that_does_not_fit_is_said_and_not_used(
    why: str, caplog: pytest.LogCaptureFixture
) -> None:
    about = reference()
    (of_set,) = about.label_sets
    wrong = {
        "model": about.model_copy(update={"model": ModelReference(name="x", revision="y")}),
        "version": about.model_copy(
            update={"label_sets": (of_set.model_copy(update={"version": "sha256:0"}),)}
        ),
        "name": about.model_copy(update={"label_sets": ()}),
    }[why]
    meter = MemoryMeter(STREAM_WORKER)
    watched = watching(meter, wrong)
    for each in vectors(2):
        assert watched.judge(("pets",), looked_at(each))
    assert meter.value(DRIFT_UNFIT, label_set="pets") == 1.0
    assert meter.labels(DRIFT_SCORES) == meter.labels(DRIFT_SHARES) == []
    assert meter.labels(DRIFT_IMAGES) == meter.labels(DRIFT_DECISIONS) == []
    assert "write it anew with `clipstream drift reference`" in caplog.text


def rules() -> Rules:
    return Rules(Router((), ["pets"]), SCORING, VERSIONS)


def test_without_a_file_nothing_is_watched() -> None:
    meter = MemoryMeter(STREAM_WORKER)
    before = rules()
    assert DriftWatch(None, MODEL, meter).over(before) is before
    assert meter.labels(DRIFT_UNFIT) == []


def test_another_reference_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    meter, first, second = MemoryMeter(STREAM_WORKER), reference(1), reference(7)
    assert first.id != second.id
    watch = DriftWatch(file, MODEL, meter)
    file.write_text(first.text)
    old = watch.over(rules())
    file.write_text(second.text)
    new = watch.over(rules())
    for each in vectors(2):
        old.scoring.judge(("pets",), looked_at(each))  # admitted before the change
        new.scoring.judge(("pets",), looked_at(each))
    assert sum(counts(meter, "cat", second.id)) == IMAGES
    assert {each["reference"] for each in meter.labels(DRIFT_SHARES)} == {second.id}


@pytest.mark.parametrize("text", [None, "{", '{"type": "x"}'])
def test_a_file_that_cannot_be_used_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    file = tmp_path / "reference.json"
    if text is not None:
        file.write_text(text)
    meter = MemoryMeter(STREAM_WORKER)
    over = DriftWatch(file, MODEL, meter).over(rules())
    for each in vectors(2):
        assert over.scoring.judge(("pets",), looked_at(each))
    assert meter.value(DRIFT_UNFIT, label_set="pets") == 1.0
    assert str(file) in caplog.text


def test_a_file_is_read_as_it_was_written() -> None:
    about = reference()
    assert Reference.read(about.text.encode(), "here") == about
    (of_set,) = about.label_sets
    label = of_set.labels[0].model_dump() | {"counts": [1]}
    spoilt = about.text.replace('"counts"', '"count"', 1)
    with pytest.raises(Halt, match=r"here: is no reference: label_sets\.0\.labels\.0\.count"):
        Reference.read(spoilt.encode(), "here")
    with pytest.raises(ValueError, match="edges and 1 bins"):
        type(of_set.labels[0]).model_validate(label)


def test_a_large_label_set_is_watched_in_part() -> None:
    random = np.random.default_rng(1)
    many = Collected(random.random((50, MAX_LABELS + 5)), Counter(allow=50), np.ones(3), 1.0)
    names = [f"label {number}" for number in range(MAX_LABELS + 5)]
    made = many.reference(names, name="many", version="v", source="s", window=(None, None))
    assert [each.name for each in made.labels] == names[:MAX_LABELS]
