"""What becomes of a label set on a sample: expectations, and which thresholds move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.sample import LabelledImage, Sample, Truth
from pipeline.evaluation.share import Share
from pipeline.evaluation.tuning import Aim, Goal
from pipeline.labels.label_set import Label, LabelSet
from pipeline.labels.parsing import parse_label_set
from pipeline.records import ModelIdentity
from workers.commands.evaluation.embedding import Embedded
from workers.commands.evaluation.scoring import Scored
from workers.commands.labels.tested import Expected, Outcome, judge_label_set
from workers.commands.labels.tuned import ACT, REVIEW, divide, threshold_key, tune_label_set

MODEL = ModelIdentity("a", "b", 2, 100.0, "fp32", "torch-cpu")
NO_ACTIONS = {ACT: False, REVIEW: False}


def label_set(*labels: dict[str, object], decision: str = "independent") -> LabelSet:
    document = {
        "name": "pets",
        "decision": decision,
        "actions": ["block", "review", "none"],
        "default_action": "none",
        "act_action": "block",
        "review_action": "review",
        "labels": [{"prompts": [str(each["name"])], **each} for each in labels],
    }
    if decision == "independent":
        document["contrast"] = ["a photo"]
    return parse_label_set(document)  # type: ignore[arg-type]


def scored(
    of: LabelSet,
    scores: Sequence[Sequence[float]],
    truth: Sequence[Sequence[int]],
    groups: Sequence[str] = (),
) -> Scored:
    names = [label.name for label in of.labels]
    images = tuple(
        LabelledImage(
            str(place),
            frozenset(name for name, shown in zip(names, row, strict=True) if shown),
            groups[place] if groups else None,
            lambda: b"",
        )
        for place, row in enumerate(truth)
    )
    kept = tuple(range(len(images)))
    hashes = tuple(map(str, kept))
    vectors = np.zeros((len(kept), 2), np.float32)
    firsts = np.arange(len(kept))
    embedded = Embedded(Sample(images, tuple(names)), kept, vectors, firsts, hashes, (), "d")
    shown: Truth = np.array(truth, dtype=np.bool_)
    decisions = np.zeros(len(kept), np.intp)
    return Scored(of, MODEL, embedded, np.array(scores, dtype=np.float64), shown, decisions)


@pytest.mark.parametrize(
    ("hits", "of", "least", "outcome"),
    [
        (100, 100, 0.95, Outcome.MET),
        (20, 20, 0.95, Outcome.UNSURE),
        (94, 100, 0.95, Outcome.MISSED),
        (0, 0, 0.95, Outcome.UNSURE),
        (0, 100, 0.0, Outcome.MET),
    ],
)
def test_an_expectation_is_met_missed_or_unsure(
    hits: int, of: int, least: float, outcome: Outcome
) -> None:
    assert Expected("recall", least, Share(hits, of)).outcome is outcome


def test_precision_counts_where_one_acts_and_recall_where_anything_follows() -> None:
    pets = label_set(
        {
            "name": "dog",
            "review_threshold": 0.3,
            "act_threshold": 0.8,
            "expect": {"precision": 0.9, "recall": 0.5},
        }
    )
    tested = judge_label_set(scored(pets, [[0.9], [0.5], [0.4], [0.1]], [[1], [1], [0], [1]]))
    (label,) = tested.labels
    precision, recall = label.expected
    assert precision.share == Share(1, 1)
    assert recall.share == Share(2, 3)
    assert [at.key for at in label.thresholds] == [REVIEW, ACT]
    assert not tested.fails(strict=False)
    assert tested.fails(strict=True)
    assert tested.right is None


def test_an_exclusive_set_has_confusions() -> None:
    pets = label_set({"name": "dog", "act_threshold": 0.5}, {"name": "cat"}, decision="exclusive")
    scores = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
    tested = judge_label_set(scored(pets, scores, [[1, 0], [0, 1], [0, 1]]))
    assert tested.right == Share(2, 3)
    (confusion,) = tested.confusions
    assert (confusion.shown, confusion.best, confusion.count) == ("cat", "dog", 1)


@pytest.mark.parametrize(
    ("label", "aim", "key"),
    [
        ({"act_threshold": 0.5, "review_threshold": 0.2}, Aim.PRECISION, ACT),
        ({"act_threshold": 0.5, "review_threshold": 0.2}, Aim.COST, ACT),
        ({"act_threshold": 0.5, "review_threshold": 0.2}, Aim.RECALL, REVIEW),
        ({"review_threshold": 0.2}, Aim.PRECISION, REVIEW),
        ({"act_threshold": 0.5}, Aim.RECALL, ACT),
    ],
)
def test_a_goal_is_about_one_threshold(label: dict[str, object], aim: Aim, key: str) -> None:
    (dog,) = label_set({"name": "dog", **label}).labels
    assert threshold_key(Goal(aim, 0.9), dog, NO_ACTIONS) == key


def test_a_label_without_thresholds_gets_one_if_the_set_has_an_action_for_it() -> None:
    dog = Label("dog", ("dog",))
    goal = Goal(Aim.RECALL, 0.9)
    assert threshold_key(goal, dog, NO_ACTIONS) is None
    assert threshold_key(goal, dog, {ACT: True, REVIEW: False}) == ACT
    assert threshold_key(goal, dog, {ACT: True, REVIEW: True}) == REVIEW


def separated(count: int = 600) -> tuple[list[list[float]], list[list[int]]]:
    """Every other image shows the label and scores above 0.6; the others score below 0.4."""
    step = 0.35 / count
    return (
        [[0.6 + step * n] if n % 2 else [step * n] for n in range(count)],
        [[n % 2] for n in range(count)],
    )


def test_a_review_threshold_moves_along_with_a_lower_act_threshold() -> None:
    pets = label_set({"name": "dog", "review_threshold": 0.9, "act_threshold": 0.95})
    sample = scored(pets, *separated())
    parts = divide(sample, 0.4, seed=0)
    tuned = tune_label_set(sample, Goal(Aim.PRECISION, 0.9), parts, NO_ACTIONS)
    (label,) = tuned.labels
    assert label.score is not None
    assert label.score < 0.9
    assert tuned.thresholds == {"dog": {ACT: label.score, REVIEW: label.score}}
    assert label.now is not None
    assert label.was is not None
    assert label.now.recall.value == 1.0 > (label.was.recall.value or 0.0)


def test_a_review_threshold_is_never_above_the_act_threshold() -> None:
    pets = label_set({"name": "dog", "review_threshold": 0.1, "act_threshold": 0.5})
    sample = scored(pets, *separated())
    tuned = tune_label_set(sample, Goal(Aim.RECALL, 0.5), divide(sample, 0.4, seed=0), NO_ACTIONS)
    assert tuned.thresholds == {"dog": {REVIEW: 0.5}}


def test_a_label_with_little_evidence_keeps_its_threshold_and_says_why() -> None:
    pets = label_set({"name": "dog", "act_threshold": 0.5})
    sample = scored(pets, *separated(40))
    tuned = tune_label_set(
        sample, Goal(Aim.PRECISION, 0.95), divide(sample, 0.4, seed=0), NO_ACTIONS
    )
    (label,) = tuned.labels
    assert label.score is None
    assert label.now is label.was
    assert label.few
    assert label.kept_because == "12 images to choose on show it, and the goal needs 59 at least"
    assert tuned.thresholds == {}


def test_copies_of_a_picture_are_no_evidence() -> None:
    """600 images, of which 20 are different: too few for a precision of 0.9."""
    pets = label_set({"name": "dog", "act_threshold": 0.5})
    scores, truth = separated()
    copies = [str(n % 2 + 2 * (n // 60)) for n in range(len(scores))]
    goal = Goal(Aim.PRECISION, 0.9)
    for groups, found in (((), True), (copies, False)):
        sample = scored(pets, scores, truth, groups)
        parts = divide(sample, 0.4, seed=0)
        tuned = tune_label_set(sample, goal, parts, NO_ACTIONS)
        assert bool(tuned.thresholds) is found
        if groups:
            assert len(parts.chosen_on) + len(parts.held_out) == len({*groups})


def test_a_label_that_the_sample_does_not_judge_is_left_out() -> None:
    pets = label_set({"name": "dog", "act_threshold": 0.5}, {"name": "cat"})
    sample = scored(pets, [[0.9, 0.1]] * 4, [[1, 0]] * 4)
    judged = Sample(sample.embedded.sample.images, ("cat",))
    embedded = replace(sample.embedded, sample=judged)
    partly = replace(sample, embedded=embedded)
    tuned = tune_label_set(partly, Goal(Aim.RECALL, 0.9), divide(partly, 0.5, seed=0), NO_ACTIONS)
    assert set(tuned.skipped) == {"dog", "cat"}
    assert judge_label_set(partly).unjudged == ("dog",)
