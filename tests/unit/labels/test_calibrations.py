"""A label's calibration makes a probability of its score. Every result has the probability."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.events.parts import result_value
from pipeline.labels.blocks import score_block
from pipeline.labels.explaining import explain
from pipeline.labels.learnt.calibration import Calibration, Calibrations, Isotonic, Platt
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.recorded import label_set_of
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import ImageFacts, Looked
from pipeline.records.views import LookedViews
from tests.rigs.root import ROOT
from tests.rigs.stages.backfill_rows import unit_vectors

ENCODER = MemoryEncoder(64)
SAMPLE = f"sha256:{'ab' * 32}"
PLATT = {"platt": {"slope": 0.5, "intercept": -1}, "sample": SAMPLE}
ISOTONIC = {"isotonic": [[0.1, 0], [0.3, 0.2], [0.9, 0.6]], "sample": SAMPLE}
WITHOUT: dict[str, Any] = {
    "name": "pets",
    "decision": "exclusive",
    "actions": ["review", "none"],
    "default_action": "none",
    "act_action": "review",
    "model": {"name": "memory", "revision": "1"},
    "labels": [
        {"name": "cat", "prompts": ["a cat"], "act_threshold": 0.5},
        {"name": "dog", "prompts": ["a dog"], "act_threshold": 0.5},
        {"name": "other", "prompts": ["a photo"], "neutral": True},
    ],
}


def document(*calibrations: object) -> Any:
    labels = [
        {**label, "calibration": each} if each else label
        for label, each in zip(WITHOUT["labels"], calibrations, strict=False)
    ]
    return {**WITHOUT, "labels": [*labels, *WITHOUT["labels"][len(labels) :]]}


CALIBRATED = parse_label_set(document(PLATT, ISOTONIC))


@pytest.fixture(scope="module")
def compiled() -> CompiledLabelSet:
    (found,) = compile_label_sets([CALIBRATED], ENCODER.encode_texts, ENCODER.model)
    return found


def probability(calibration: Calibration, score: float) -> float:
    return float(Calibrations([calibration]).probabilities(np.array([score]))[0])


def test_platt_is_the_logistic_function_of_the_log_odds() -> None:
    for score in (0.001, 0.2, 0.5, 0.97):
        odds = math.log(score / (1 - score))
        expected = 1 / (1 + math.exp(-(0.7 * odds - 0.4)))
        assert probability(Platt(0.7, -0.4, SAMPLE), score) == pytest.approx(expected, abs=1e-15)
        assert probability(Platt(1.0, 0.0, SAMPLE), score) == pytest.approx(score, abs=1e-15)
    assert 0 < probability(Platt(1.0, 0.0, SAMPLE), 0.0) < 1e-11
    assert 1 - 1e-11 < probability(Platt(1.0, 0.0, SAMPLE), 1.0) < 1


def test_isotonic_draws_lines_between_knots() -> None:
    curve = Isotonic(((0.1, 0.0), (0.3, 0.2), (0.9, 0.6)), SAMPLE)
    for score, expected in ((0.0, 0.0), (0.1, 0.0), (0.2, 0.1), (0.6, 0.4), (0.9, 0.6), (1.0, 0.6)):
        assert probability(curve, score) == pytest.approx(expected)


@given(st.floats(1e-3, 20), st.floats(-20, 20), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_a_probability_never_falls_as_the_score_rises(
    slope: float, intercept: float, scores: list[float]
) -> None:
    given_scores = np.sort(np.array(scores))
    knots = tuple((each, each**2) for each in sorted({0.0, 1.0, *scores}))
    found = Calibrations([Platt(slope, intercept, SAMPLE), Isotonic(knots, SAMPLE)])
    probabilities = found.probabilities(np.stack([given_scores, given_scores], axis=1))
    assert (np.diff(probabilities, axis=0) >= -1e-15).all()
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()


def test_the_function_in_the_documentation_gives_the_published_probability(
    compiled: CompiledLabelSet,
) -> None:
    page = (ROOT / "docs/label-sets.md").read_text(encoding="utf-8")
    code = next(part for part in page.split("```python\n") if part.startswith("def platt"))
    documented: dict[str, Any] = {"np": np}
    exec(code.partition("```")[0], documented)
    for embedding in unit_vectors(20, 64).astype(np.float32):
        cat, dog, _ = compiled.score(embedding).scores
        by_platt = documented["platt"](cat.score, 0.5, -1)
        assert by_platt == pytest.approx(cat.probability, abs=1e-12)
        by_knots = documented["isotonic"](dog.score, ISOTONIC["isotonic"])
        assert by_knots == pytest.approx(dog.probability, abs=1e-12)


def test_scores_and_decisions_are_those_without_calibration(compiled: CompiledLabelSet) -> None:
    (plain,) = compile_label_sets([parse_label_set(WITHOUT)], ENCODER.encode_texts, ENCODER.model)
    for embedding in unit_vectors(50, 64).astype(np.float32):
        ours, theirs = compiled.score(embedding), plain.score(embedding)
        assert [each.score for each in ours.scores] == [each.score for each in theirs.scores]
        assert (ours.matched, ours.decision) == (theirs.matched, theirs.decision)
        assert all(each.probability is None for each in theirs.scores)


def test_an_image_alone_and_many_at_a_time_have_the_same_probabilities(
    compiled: CompiledLabelSet,
) -> None:
    embeddings = unit_vectors(40, 64).astype(np.float32)
    block = score_block(compiled, embeddings)
    assert block.probabilities is not None
    for row, embedding in enumerate(embeddings):
        cat, dog, other = compiled.score(embedding).scores
        alone = [cat.probability, dog.probability]
        assert block.probabilities[row, :2].tolist() == pytest.approx(alone, abs=1e-9)
        assert other.probability is None
        assert math.isnan(block.probabilities[row, 2])


def test_of_several_views_the_probability_is_that_of_the_largest_score(
    compiled: CompiledLabelSet,
) -> None:
    embeddings = unit_vectors(3, 64).astype(np.float32)
    each = [compiled.score(embedding).scores[0] for embedding in embeddings]
    facts = ImageFacts("PNG", 10, 10, 1, 0.0)
    views = LookedViews((), embeddings)
    looked = Looked(
        embeddings[0], ENCODER.model, facts, "0" * 64, 3, "strict", "transformers", views
    )
    best = compiled.judge(looked).scores[0]
    assert best.probability == max(view.probability or 0.0 for view in each)


def test_an_event_has_the_probability_of_calibrated_labels_alone(
    compiled: CompiledLabelSet,
) -> None:
    result = compiled.score(unit_vectors(1, 64)[0])
    cat, dog, other = result_value(result)["scores"]
    assert cat.get("probability") == result.scores[0].probability
    assert list(dog) == ["label", "score", "similarity", "probability"]
    assert list(other) == ["label", "score", "similarity"]


def test_explaining_derives_the_probability_and_says_where_it_differs(
    compiled: CompiledLabelSet,
) -> None:
    embedding = unit_vectors(1, 64)[0].astype(np.float32)
    facts = ImageFacts("PNG", 10, 10, 1, 0.0)
    looked = Looked(embedding, ENCODER.model, facts, "0" * 64, 3, "strict", "transformers")
    published = compiled.judge(looked)
    found = explain(compiled, ENCODER.encode_texts, looked, published)
    assert found.differences == ()
    assert found.labels[0].probability == published.scores[0].probability
    cat, *others = published.scores
    for value in (None, (cat.probability or 0) + 2e-6):
        altered = replace(published, scores=(replace(cat, probability=value), *others))
        (difference,) = explain(compiled, ENCODER.encode_texts, looked, altered).differences
        assert "the event's probability is" in difference


def test_the_version_covers_the_calibration_and_is_as_ever_without_one() -> None:
    plain = parse_label_set(WITHOUT)
    assert "calibration" not in plain.canonical
    other = parse_label_set(document({**PLATT, "platt": {"slope": 0.6, "intercept": -1}}, ISOTONIC))
    assert len({plain.version, CALIBRATED.version, other.version}) == 3


def test_a_recorded_calibration_is_read_back() -> None:
    assert label_set_of(json.loads(CALIBRATED.canonical), CALIBRATED.version) == CALIBRATED


@pytest.mark.parametrize(
    ("calibration", "place", "says"),
    [
        ({**PLATT, **ISOTONIC}, (), "needs one of platt and isotonic"),
        ({"sample": SAMPLE}, (), "needs one of platt and isotonic"),
        ({"platt": PLATT["platt"]}, (), "sample is missing"),
        ({**PLATT, "sample": "mine"}, ("sample",), "is no digest"),
        ({**PLATT, "platt": {"slope": 0, "intercept": 1}}, ("platt", "slope"), "above 0"),
        ({**PLATT, "platt": {"slope": 1}}, ("platt",), "intercept is missing"),
        ({**PLATT, "platt": {"slope": 1, "shift": 1}}, ("platt", "shift"), "intercept"),
        ({**PLATT, "platt": {"slope": 1, "intercept": math.inf}}, ("platt", "intercept"), "finite"),
        ({**ISOTONIC, "isotonic": [[0, 0]]}, ("isotonic",), "1 knots; write 2 to 1000"),
        ({**ISOTONIC, "isotonic": [[0, 0], [0, 1]]}, ("isotonic",), "does not rise"),
        ({**ISOTONIC, "isotonic": [[0, 0.5], [1, 0.4]]}, ("isotonic",), "do not fall"),
        ({**ISOTONIC, "isotonic": [[0, 0], [1, 2]]}, ("isotonic",), "is no list of knots"),
        ({**ISOTONIC, "isotonic": [[0], [1, 2]]}, ("isotonic",), "is no list of knots"),
        ({**ISOTONIC, "isotonic": "steep"}, ("isotonic",), "is no list of knots"),
    ],
)
def test_a_wrong_calibration_is_told_at_its_key(
    calibration: object, place: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InvalidLabelSet) as refused:
        parse_label_set(document(calibration))
    told = {each.path: each.message for each in refused.value.problems}
    assert says in told["labels", 0, "calibration", *place]


def test_a_calibration_needs_the_model_of_its_scores() -> None:
    unpinned = {key: value for key, value in document(PLATT).items() if key != "model"}
    with pytest.raises(InvalidLabelSet, match="write model in the label set"):
        parse_label_set(unpinned)
