"""A label's score is its largest over the views of an image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.labels.blocks import score_views
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import JsonValue, Looked, ModelIdentity, Vector
from pipeline.records.views import LookedViews, View
from tests.rigs.stages.looked import SEEN_WHOLE, looked_at

MODEL = ModelIdentity("exact", "1", 3, 10.0, "fp32", "memory")
X, Y, Z = np.eye(3, dtype=np.float32)
PLACES = tuple(
    View("tile" if place else "centre", 0, place * 100.0, 0.0, place * 100.0 + 100, 100.0)
    for place in range(3)
)


def one_hot(prompts: tuple[str, ...]) -> Vector:
    return np.stack([np.eye(3, dtype=np.float32)["xyz".index(prompt)] for prompt in prompts])


def compiled(decision: str, **keys: JsonValue) -> CompiledLabelSet:
    calibration: JsonValue = {
        "platt": {"slope": 0.5, "intercept": 1},
        "sample": "sha256:" + "a" * 64,
    }
    x: dict[str, JsonValue] = {
        "name": "x",
        "prompts": ["x"],
        "act_threshold": 0.9,
        "calibration": calibration,
    }
    y: dict[str, JsonValue] = {"name": "y", "prompts": ["y"], "review_threshold": 0.9}
    other: list[JsonValue] = [{"name": "other", "prompts": ["z"], "neutral": True}]
    document: dict[str, JsonValue] = {
        "name": "axes",
        "decision": decision,
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "model": {"name": MODEL.name, "revision": MODEL.revision},
        "act_action": "block",
        "review_action": "review",
        "labels": [x, y, *other] if decision == "exclusive" else [x, y],
    }
    if decision == "independent":
        document["contrast"] = ["z"]
    label_set = parse_label_set(document | keys)
    (one,) = compile_label_sets([label_set], lambda prompts: one_hot(tuple(prompts)), MODEL)
    return one


def seen_in(*embeddings: npt.NDArray[np.floating], dtype: str = "float32") -> Looked:
    stacked = np.stack(embeddings).astype(dtype)
    views = LookedViews(PLACES[: len(embeddings)], stacked)
    return replace(looked_at(stacked[0], dtype=dtype), views=views)


@pytest.mark.parametrize("decision", ["exclusive", "independent"])
def test_what_only_one_view_shows_decides(decision: str) -> None:
    label_set = compiled(decision)
    assert label_set.judge(looked_at(Z)).decision == "allow"
    result = label_set.judge(seen_in(Z, Z, X))
    assert (result.matched, result.decision) == (("x",), "block")
    x = result.scores[0]
    assert (x.view, x.similarity) == (2, 1.0)
    assert x.score == label_set.score(X).scores[0].score


@pytest.mark.parametrize("decision", ["exclusive", "independent"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_score_is_that_of_the_view_it_names(decision: str, dtype: str) -> None:
    random = np.random.default_rng(3)
    label_set = compiled(decision)
    for _ in range(50):
        vectors = random.normal(size=(3, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        looked = seen_in(*vectors, dtype=dtype)
        assert looked.views is not None
        alone = [label_set.score(each).scores for each in looked.views.embeddings]
        result = label_set.judge(looked)
        for place, score in enumerate(result.scores):
            assert score.score == max(each[place].score for each in alone)
            assert score.view is not None
            best = alone[score.view][place]
            assert (score.score, score.similarity) == (best.score, best.similarity)
        values = [score.score for score in result.scores]
        assert (result.matched, result.decision) == label_set.label_set.decide(values)


def test_several_labels_of_an_exclusive_set_match_in_different_places() -> None:
    result = compiled("exclusive").judge(seen_in(Z, Y, X))
    assert result.matched == ("x", "y")
    assert result.decision == "block"
    assert sum(score.score for score in result.scores) > 2
    assert [score.view for score in result.scores] == [2, 1, 0]


def test_of_equal_scores_the_first_view_counts() -> None:
    result = compiled("independent").judge(seen_in(X, X, X))
    assert [score.view for score in result.scores] == [0, 0]


@pytest.mark.parametrize("decision", ["exclusive", "independent"])
def test_many_images_at_a_time_are_scored_as_one_by_one(decision: str) -> None:
    label_set = compiled(decision)
    random = np.random.default_rng(3)
    images = []
    for count in (1, 3, 2, 1, 3):
        vectors = random.normal(size=(count, 3)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        images.append(vectors)
    images.append(np.stack([X, Y, X]))  # the first of equal scores counts
    firsts = np.cumsum([0, *map(len, images[:-1])])
    block, views = score_views(label_set, np.concatenate(images), firsts)
    for row, vectors in enumerate(images):
        one = label_set.judge(seen_in(*vectors))
        assert block.scores[row] == pytest.approx([each.score for each in one.scores])
        assert block.similarities[row] == pytest.approx([each.similarity for each in one.scores])
        assert views[row].tolist() == [each.view for each in one.scores]
        assert block.probabilities is not None
        probabilities = [
            math.nan if each.probability is None else each.probability for each in one.scores
        ]
        assert block.probabilities[row] == pytest.approx(probabilities, nan_ok=True)
        names = [label.name for label in label_set.label_set.labels]
        assert tuple(np.array(names)[block.matched[row]]) == one.matched
        assert label_set.label_set.actions[block.decisions[row]] == one.decision


def test_an_image_of_one_view_names_no_view() -> None:
    assert [score.view for score in compiled("exclusive").judge(looked_at(X)).scores] == [None] * 3


def test_an_animation_of_which_every_frame_was_seen_is_not_raised() -> None:
    label_set = compiled("exclusive", review_if={"frames": 2})
    few = replace(seen_in(Z, Z, Z), image=replace(SEEN_WHOLE, frames=3, frames_seen=3))
    assert label_set.judge(few).raised == ()
    many = replace(seen_in(Z, Z, Z), image=replace(SEEN_WHOLE, frames=4, frames_seen=3))
    assert label_set.judge(many).raised == ("frames",)
