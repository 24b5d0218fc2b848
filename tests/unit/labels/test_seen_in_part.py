"""An image of which the model saw only a part never gets less than the review action."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.labels.blocks import raise_block, score_block
from pipeline.labels.label_set import REASONS, ReviewIf
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import ImageFacts, LabelSetResult
from tests.rigs.stages.backfill_rows import unit_vectors
from tests.rigs.stages.looked import looked_at

ENCODER = MemoryEncoder(64)
DOCUMENT: dict[str, Any] = {
    "name": "moderation",
    "decision": "independent",
    "actions": ["block", "review", "allow"],
    "default_action": "allow",
    "review_action": "review",
    "act_action": "block",
    "review_if": {"cropped_share": 0.3, "frames": 2},
    "contrast": ["anything else"],
    "labels": [
        {"name": "gun", "prompts": ["a gun"], "review_threshold": 0.6, "act_threshold": 0.9},
    ],
}


def written(**keys: Any) -> dict[str, Any]:
    """The document with other keys; None takes one out."""
    document = copy.deepcopy(DOCUMENT) | keys
    return {key: value for key, value in document.items() if value is not None}


def compiled(document: dict[str, Any] = DOCUMENT) -> CompiledLabelSet:
    (one,) = compile_label_sets([parse_label_set(document)], ENCODER.encode_texts, ENCODER.model)
    return one


def facts(cropped_share: float, frames: int) -> ImageFacts:
    return ImageFacts("GIF", 640, 480, frames, cropped_share)


def judged(shows: str, image: ImageFacts, **keys: Any) -> LabelSetResult:
    (embedding,) = ENCODER.encode_texts([shows])
    return compiled(written(**keys)).judge(looked_at(embedding, image))


@pytest.mark.parametrize(
    ("image", "reasons"),
    [
        (facts(0.3, 1), ("cropped_share",)),
        (facts(0.0, 2), ("frames",)),
        (facts(0.9, 9), ("cropped_share", "frames")),
    ],
)
def test_an_image_that_was_seen_in_part_is_reviewed_and_says_why(
    image: ImageFacts, reasons: tuple[str, ...]
) -> None:
    result = judged("anything else", image)
    assert (result.decision, result.raised, result.labels_decision) == ("review", reasons, "allow")
    assert result.matched == ()


def test_an_image_that_was_seen_well_enough_keeps_the_decision_of_its_labels() -> None:
    result = judged("anything else", facts(0.299, 1))
    assert (result.decision, result.raised, result.labels_decision) == ("allow", (), None)


def test_a_more_severe_decision_of_the_labels_stays() -> None:
    result = judged("a gun", facts(0.9, 9))
    assert (result.decision, result.raised, result.labels_decision) == ("block", (), None)


def test_a_condition_that_is_not_written_raises_nothing() -> None:
    only_frames = {"frames": 10}
    assert judged("anything else", facts(1.0, 9), review_if=only_frames).decision == "allow"
    assert judged("anything else", facts(0.0, 10), review_if=only_frames).raised == ("frames",)


def test_the_action_is_that_of_the_set_or_review() -> None:
    queue = written(actions=["block", "queue", "allow"], unclassified_action="queue")
    queue["review_action"] = "queue"
    assert parse_label_set(queue).review_if == ReviewIf("queue", 0.3, 2)
    own = copy.deepcopy(DOCUMENT["labels"])
    own[0]["review_action"] = "block"
    alone = parse_label_set(written(review_action=None, labels=own))
    assert alone.review_if == ReviewIf("review", 0.3, 2)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"review_if": {}}, "review_if: names no condition; write cropped_share, frames or both"),
        ({"review_if": {"cropped": 0.3}}, "review_if.cropped: unknown key; did you mean cropped_"),
        ({"review_if": {"cropped_share": 0}}, "review_if.cropped_share: 0 would raise every image"),
        ({"review_if": {"cropped_share": 30}}, "30 would raise every image or none"),
        ({"review_if": {"frames": 1}}, "review_if.frames: 1 would raise every image; write 2"),
        (
            {"review_if": {"frames": 2.5}},
            "review_if.frames: is the number 2.5; write a whole number",
        ),
        ({"review_if": True}, "is the boolean true; write a mapping with cropped_share, frames"),
        (
            {"default_action": "review"},
            "review_if: would raise nothing: its action 'review' is no more severe than default",
        ),
        (
            {
                "review_action": None,
                "actions": ["block", "allow"],
                "unclassified_action": "block",
                "labels": [{"name": "gun", "prompts": ["a gun"], "act_threshold": 0.9}],
            },
            "review_if: has no action: actions lacks 'review'; write review_action",
        ),
    ],
)
def test_what_is_wrong_with_the_key_is_said(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidLabelSet) as caught:
        parse_label_set(written(**keys))
    (problem,) = caught.value.problems
    assert says in str(problem)


def test_the_key_changes_the_version_and_its_absence_does_not() -> None:
    without = parse_label_set(written(review_if=None))
    with_frames = parse_label_set(written(review_if={"frames": 2}))
    with_more = parse_label_set(written(review_if={"frames": 3}))
    assert len({without.version, with_frames.version, with_more.version}) == 3


@pytest.mark.parametrize("review_if", [DOCUMENT["review_if"], {"frames": 3}, None])
def test_many_images_are_raised_as_each_alone(review_if: dict[str, Any] | None) -> None:
    label_set = compiled(written(review_if=review_if))
    random = np.random.default_rng(7)
    count = 500
    shares = random.choice([0.0, 0.299, 0.3, 0.7], count)
    frames = random.integers(1, 5, count)
    embeddings = unit_vectors(count, 64)
    block = score_block(label_set, embeddings)
    raised = raise_block(label_set.label_set, block.decisions, shares, frames)
    for row, embedding in enumerate(embeddings):
        image = facts(float(shares[row]), int(frames[row]))
        alone = label_set.judge(looked_at(embedding, image))
        reasons = [name for name, met in zip(REASONS, raised.reasons[row], strict=True) if met]
        assert tuple(reasons) == alone.raised
        assert label_set.label_set.actions[raised.decisions[row]] == alone.decision
    assert raised.reasons.any() == (review_if is not None)
