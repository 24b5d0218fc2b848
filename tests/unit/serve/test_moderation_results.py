"""A moderation never gives a false all-clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.labels.categories import CATEGORIES
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, CompiledLabelSets, compile_label_sets
from pipeline.records import JsonValue, ModelIdentity, Vector
from tests.rigs.stages.looked import SEEN_WHOLE, looked_at
from workers.label_sets import ScoringRules
from workers.serve.caller import ANYBODY
from workers.serve.errors import ApiError
from workers.serve.routes.moderations import (
    ModerationResult,
    moderating,
    not_covered,
    read_inputs,
    result_of,
)

DATA = "data:image/png;base64,AAAA"
IMAGE: JsonValue = {"type": "image_url", "image_url": {"url": DATA}}
TEXT: JsonValue = {"type": "text", "text": "a cat"}

PROMPTS = ("nude", "gore", "gun", "meme", "meadow")
MODEL = ModelIdentity("exact", "1", len(PROMPTS), 10.0, "fp32", "memory")
LABELS: list[JsonValue] = [
    {"name": "nude", "review_threshold": 0.6, "act_threshold": 0.9, "category": "sexual"},
    {"name": "gore", "act_threshold": 0.6, "category": ["violence", "violence/graphic"]},
    {"name": "gun", "review_threshold": 0.6, "category": "violence"},
    {"name": "meme"},
]


def one_hot(prompts: Sequence[str]) -> Vector:
    """Each prompt has an axis of its own."""
    return np.stack(
        [np.eye(len(PROMPTS), dtype=np.float32)[PROMPTS.index(prompt)] for prompt in prompts]
    )


def compiled(labels: list[JsonValue], **keys: JsonValue) -> CompiledLabelSet:
    document: dict[str, JsonValue] = {
        "name": "moderation",
        "decision": "independent",
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "act_action": "block",
        "review_action": "review",
        "templates": ["{}"],
        "contrast": ["meadow"],
        "labels": labels,
    }
    label_set = parse_label_set({**document, **keys})
    (one,) = compile_label_sets([label_set], one_hot, MODEL)
    return one


def seen(**shows: float) -> Vector:
    """An image of which so much is along the axis of each prompt. 0.5 scores 0.993."""
    embedding = np.zeros(len(PROMPTS), np.float32)
    for prompt, much in shows.items():
        embedding[PROMPTS.index(prompt)] = much
    return embedding


def moderated(label_set: CompiledLabelSet, images: Sequence[Vector]) -> ModerationResult:
    return result_of(label_set, [label_set.score(image) for image in images])


def test_an_image_that_nobody_saw_enough_of_is_flagged() -> None:
    label_set = compiled(LABELS, review_if={"frames": 2})
    harmless = looked_at(seen(meadow=1.0))
    animated = looked_at(seen(meadow=1.0), replace(SEEN_WHOLE, frames=2))
    result = result_of(label_set, [label_set.judge(each) for each in (harmless, animated)])
    assert (result["flagged"], result["decision"], result["raised"]) == (True, "review", ["frames"])
    assert not any(result["categories"].values())
    alone = result_of(label_set, [label_set.judge(harmless)])
    assert (alone["flagged"], alone["decision"], alone["raised"]) == (False, "allow", [])


def test_what_an_image_was_raised_to_does_not_weaken_what_another_one_shows() -> None:
    label_set = compiled(LABELS, review_if={"frames": 2})
    gore = looked_at(seen(gore=1.0))
    animated = looked_at(seen(meadow=1.0), replace(SEEN_WHOLE, frames=2))
    result = result_of(label_set, [label_set.judge(each) for each in (gore, animated)])
    assert (result["decision"], result["raised"]) == ("block", ["frames"])


def test_a_label_set_that_is_tried_out_moderates_nothing() -> None:
    tried = compiled(LABELS, name="a-new-one", shadow=True)
    rules = ScoringRules(CompiledLabelSets([tried, compiled(LABELS)]), {})
    assert moderating(rules, None, ANYBODY, None).label_set.name == "moderation"
    for name, default in (("a-new-one", None), (None, "a-new-one")):
        with pytest.raises(ApiError) as refused:
            moderating(rules, name, ANYBODY, default)
        assert (refused.value.status, refused.value.code) == (400, "shadow_label_set")


def test_all_of_openais_categories_are_there_and_those_without_a_label_are_named() -> None:
    result = moderated(compiled(LABELS), [seen(meadow=1.0)])
    for key in ("categories", "category_scores", "category_applied_input_types"):
        assert set(CATEGORIES) <= set(result[key])
    assert result["flagged"] is False
    assert result["categories"]["hate"] is False
    assert result["category_scores"]["hate"] == 0.0
    assert result["category_applied_input_types"]["hate"] == []
    assert result["category_applied_input_types"]["sexual"] == ["image"]
    assert not_covered(compiled(LABELS)) == [
        category
        for category in CATEGORIES
        if category not in ("sexual", "violence", "violence/graphic")
    ]


@pytest.mark.parametrize(
    ("shows", "flagged", "decision"),
    [
        ({"nude": 0.05}, ["nude", "sexual"], "review"),
        ({"nude": 0.5}, ["nude", "sexual"], "block"),
        ({"gore": 0.5}, ["gore", "violence", "violence/graphic"], "block"),
        ({"gun": 0.5}, ["gun", "violence"], "review"),
        ({"meme": 1.0}, [], "allow"),
        ({}, [], "allow"),
    ],
)
def test_a_label_flags_its_categories_and_itself_from_its_lower_threshold_on(
    shows: dict[str, float], flagged: list[str], decision: str
) -> None:
    result = moderated(compiled(LABELS), [seen(**shows)])
    assert sorted(key for key, value in result["categories"].items() if value) == flagged
    assert result["flagged"] is bool(flagged)
    assert result["decision"] == decision
    assert result["matched"] == [key for key in flagged if key in PROMPTS]


def test_a_category_of_several_labels_has_their_highest_score() -> None:
    scores = moderated(compiled(LABELS), [seen(gun=0.5)])["category_scores"]
    assert scores["violence"] == scores["gun"] > 0.99
    assert scores["violence/graphic"] == scores["gore"] == 0.5


def test_several_images_of_one_input_have_the_highest_score_of_each_label() -> None:
    label_set = compiled(LABELS)
    result = moderated(label_set, [seen(nude=0.05), seen(gun=0.5), seen()])
    assert result["matched"] == ["nude", "gun"]
    assert result["decision"] == "review"
    assert (
        result["category_scores"]["gun"]
        == (moderated(label_set, [seen(gun=0.5)])["category_scores"]["gun"])
    )


def test_a_label_that_is_named_as_a_category_covers_it() -> None:
    label_set = compiled(
        [{"name": "sexual", "prompts": ["nude"], "review_threshold": 0.6}, *LABELS[1:]]
    )
    result = moderated(label_set, [seen(nude=0.5)])
    assert result["categories"]["sexual"] is True
    assert "sexual" not in not_covered(label_set)


def test_a_label_without_thresholds_covers_no_category() -> None:
    label_set = compiled([{"name": "sexual", "prompts": ["nude"]}, *LABELS[1:]])
    assert moderated(label_set, [seen(nude=1.0)])["categories"]["sexual"] is False
    assert "sexual" in not_covered(label_set)


def test_neutral_labels_are_no_categories() -> None:
    labels: list[JsonValue] = [
        {"name": "nude", "act_threshold": 0.5},
        {"name": "other", "prompts": ["meadow"], "neutral": True},
    ]
    document: dict[str, JsonValue] = {
        "name": "exclusive",
        "decision": "exclusive",
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "act_action": "block",
        "templates": ["{}"],
        "labels": labels,
    }
    (label_set,) = compile_label_sets([parse_label_set(document)], one_hot, MODEL)
    assert set(moderated(label_set, [seen(meadow=1.0)])["categories"]) == {*CATEGORIES, "nude"}


@pytest.mark.parametrize(
    ("written", "images"),
    [
        (DATA, [1]),
        ([DATA, "s3://photos/1.jpg"], [1, 1]),
        ([IMAGE], [1]),
        ([IMAGE, IMAGE, {"type": "image_url", "image_url": "s3://photos/1.jpg"}], [3]),
        (IMAGE, [1]),
        ([IMAGE, {"type": "text", "text": " "}], [1]),
    ],
)
def test_texts_of_a_list_are_inputs_and_a_list_of_parts_is_one(
    written: Any, images: list[int]
) -> None:
    assert [len(each) for each in read_inputs(written, ignore_text=False)] == images


@pytest.mark.parametrize(
    ("written", "code", "param"),
    [
        ("a cat", "text_not_supported", "input"),
        ([DATA, "a cat"], "text_not_supported", "input[1]"),
        ([TEXT], "text_not_supported", "input"),
        ([TEXT, IMAGE], "text_not_moderated", "input[0]"),
        ([IMAGE, "a cat"], "text_not_moderated", "input[1]"),
        ([], "empty_input", "input"),
        ("", "empty_input", "input"),
        (None, "empty_input", "input"),
        ([3], "invalid_input", "input[0]"),
        ([{"type": "image_url"}], "invalid_input", "input[0]"),
        (["data:image/png,AAAA"], "invalid_image", "input[0]"),
    ],
)
def test_what_nobody_looks_at_is_refused(written: Any, code: str, param: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_inputs(written, ignore_text=False)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, code, param)


def test_a_text_beside_an_image_is_passed_over_where_the_caller_says_so() -> None:
    assert [len(each) for each in read_inputs([TEXT, IMAGE], ignore_text=True)] == [1]
    alone: list[JsonValue] = ["a cat", [TEXT], [DATA, "a cat"]]
    for each in alone:
        with pytest.raises(ApiError, match="no image"):
            read_inputs(each, ignore_text=True)
