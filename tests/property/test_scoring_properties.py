"""Scores of any embedding under any label set: finite, bounded, explained by what is published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import Reject
from pipeline.labels.label_set import Decision, Label, LabelSet, Threshold
from pipeline.labels.learnt.logistic import sigmoid, softmax
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.labels.wording.prompts import prompt_problems
from pipeline.records import LabelSetResult, ModelIdentity, Vector

DIMENSION = 8
ACTIONS = ("block", "review", "allow")
PROMPTS = tuple(f"prompt {number}" for number in range(40))

Embedding = npt.NDArray[np.float16] | npt.NDArray[np.float32]

examples = settings(max_examples=60)  # an example is a whole label set

finite = npst.from_dtype(np.dtype(np.float32), allow_nan=False, allow_infinity=False)
_DIRECTIONS = np.random.default_rng(3).standard_normal((len(PROMPTS), DIMENSION))
VECTORS = (_DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)).astype(np.float32)


def encode_texts(prompts: Sequence[str]) -> Vector:
    vectors: Vector = VECTORS[[PROMPTS.index(prompt) for prompt in prompts]]
    return vectors


def prompts_among(pool: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.builds(
        lambda start, count: tuple(pool[start : start + count]),
        st.integers(0, len(pool) - 1),
        st.integers(1, 4),
    )


thresholds = st.builds(
    lambda scores, actions, given: (
        Threshold(max(scores), min(actions, key=ACTIONS.index)) if given & 1 else None,
        Threshold(min(scores), max(actions, key=ACTIONS.index)) if given & 2 else None,
    ),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.sampled_from(ACTIONS), st.sampled_from(ACTIONS)),
    st.integers(0, 3),
)
"""A label's two thresholds: a higher score never calls for less, and either may be absent."""


@st.composite
def label_sets(draw: st.DrawFn) -> LabelSet:
    decision = draw(st.sampled_from(Decision))
    exclusive = decision is Decision.EXCLUSIVE
    labels = []
    for number in range(draw(st.integers(2, 4))):
        neutral = exclusive and number > 0 and draw(st.booleans())
        act, review = (None, None) if neutral else draw(thresholds)
        labels.append(
            Label(
                name=f"label {number}",
                prompts=draw(prompts_among(PROMPTS[:20])),
                contrast=() if exclusive else draw(prompts_among(PROMPTS[20:])),
                neutral=neutral,
                act=act,
                review=review,
            )
        )
    label_set = LabelSet("set", decision, ACTIONS, "allow", "review", tuple(labels))
    assume(not list(prompt_problems(label_set)))
    return label_set


@st.composite
def embeddings(draw: st.DrawFn) -> Embedding:
    """Unit vectors as they are published, rounded to either dtype."""
    values = draw(npst.arrays(np.float64, DIMENSION, elements=st.floats(-1, 1)))
    length = np.linalg.norm(values)
    unit = values / length if length > 1e-3 else np.eye(DIMENSION)[0]
    dtype: Any = draw(st.sampled_from([np.float16, np.float32]))
    published: Embedding = unit.astype(dtype)
    return published


scales = st.floats(1e-3, 1e4)


def compiled(label_set: LabelSet, scale: float) -> CompiledLabelSet:
    model = ModelIdentity("clip", "abc", DIMENSION, scale, "fp32", "torch-cpu")
    (only,) = compile_label_sets([label_set], encode_texts, model)
    return only


def scored(label_set: LabelSet, scale: float, embedding: Embedding) -> LabelSetResult:
    return compiled(label_set, scale).score(embedding)


@examples
@given(label_sets(), scales, npst.arrays(np.float32, DIMENSION, elements=finite))
def test_any_finite_embedding_has_finite_scores_between_0_and_1(
    label_set: LabelSet, scale: float, embedding: Embedding
) -> None:
    result = scored(label_set, scale, embedding)

    assert [score.label for score in result.scores] == [label.name for label in label_set.labels]
    assert all(0 <= score.score <= 1 for score in result.scores)
    assert all(-1 <= score.similarity <= 1 for score in result.scores)
    if label_set.decision is Decision.EXCLUSIVE:
        assert math.fsum(score.score for score in result.scores) == pytest.approx(1, abs=1e-12)


@examples
@given(label_sets(), st.integers(0, DIMENSION - 1), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_value_that_is_not_finite_rejects_the_embedding(
    label_set: LabelSet, place: int, value: float
) -> None:
    embedding = np.zeros(DIMENSION, dtype=np.float32)
    embedding[place] = value

    with pytest.raises(Reject, match=r"encode\.non_finite"):
        scored(label_set, 100.0, embedding)


@examples
@given(label_sets(), scales, embeddings())
def test_the_decision_is_the_most_severe_action_of_the_labels_at_their_thresholds(
    label_set: LabelSet, scale: float, embedding: Embedding
) -> None:
    result = scored(label_set, scale, embedding)

    called: dict[str, str] = {}
    for label, score in zip(label_set.labels, result.scores, strict=True):
        if label.review is not None and score.score >= label.review.score:
            called[label.name] = label.review.action
        if label.act is not None and score.score >= label.act.score:
            called[label.name] = label.act.action
    severest = [action for action in ACTIONS if action in called.values()]
    assert result.matched == tuple(called)
    assert result.decision == (severest[0] if severest else "allow")
    assert not {label.name for label in label_set.labels if label.neutral} & set(result.matched)


@examples
@given(label_sets(), st.floats(1, 100), embeddings())
def test_anyone_derives_a_score_again_from_the_published_embedding_and_the_label_matrix(
    label_set: LabelSet, scale: float, embedding: Embedding
) -> None:
    """The formulas of docs/label-sets.md in plain Python, without any of the code under test."""
    subject = compiled(label_set, scale)
    values = [float(value) for value in embedding]

    def cosine(vector: npt.NDArray[np.float32]) -> float:
        product = math.fsum(a * float(b) for a, b in zip(values, vector, strict=True))
        return max(-1.0, min(1.0, product))

    own = [cosine(vector) for vector in subject.label_vectors]
    if label_set.decision is Decision.EXCLUSIVE:
        powers = [math.exp(scale * (value - max(own))) for value in own]
        expected = [power / math.fsum(powers) for power in powers]
    else:
        against = [cosine(vector) for vector in subject.rows[subject.contrast_rows]]
        expected = [
            (1 + math.tanh(scale * (a - b) / 2)) / 2 for a, b in zip(own, against, strict=True)
        ]

    assert [score.score for score in subject.score(embedding).scores] == pytest.approx(
        expected, abs=1e-9
    )


@examples
@given(label_sets(), st.floats(1, 100), embeddings())
def test_anyone_derives_a_score_again_from_the_prompts(
    label_set: LabelSet, scale: float, embedding: Embedding
) -> None:
    """From the prompts' embeddings, within 1e-6, the label matrix's rounding left out."""

    def ensemble(prompts: Sequence[str]) -> npt.NDArray[np.float64]:
        unit = [vector / np.linalg.norm(vector) for vector in encode_texts(prompts).astype(float)]
        mean: npt.NDArray[np.float64] = np.mean(unit, axis=0)
        direction: npt.NDArray[np.float64] = mean / np.linalg.norm(mean)
        return direction

    published = embedding.astype(np.float64)
    own = np.clip([ensemble(label.prompts) @ published for label in label_set.labels], -1, 1)
    if label_set.decision is Decision.EXCLUSIVE:
        powers = np.exp(scale * own)
        expected = powers / powers.sum()
    else:
        against = [ensemble(label.contrast) @ published for label in label_set.labels]
        expected = 1 / (1 + np.exp(-scale * (own - np.clip(against, -1, 1))))

    scores = [score.score for score in scored(label_set, scale, embedding).scores]
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)


@examples
@given(label_sets(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4))
def test_higher_scores_never_weaken_a_decision(
    label_set: LabelSet, pairs: list[tuple[float, float]]
) -> None:
    pairs = pairs[: len(label_set.labels)]
    few, weak = label_set.decide(map(min, pairs))
    many, strong = label_set.decide(map(max, pairs))

    assert set(few) <= set(many)
    assert not few or label_set.severity(weak) <= label_set.severity(strong)


logits = npst.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e300, 1e300))


@examples
@given(logits)
def test_softmax_and_sigmoid_are_probabilities_for_any_finite_logits(
    values: npt.NDArray[np.float64],
) -> None:
    for scores in (softmax(values), sigmoid(values)):
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()
    assert softmax(values).sum() == pytest.approx(1)
