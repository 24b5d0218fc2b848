"""What a label set expects of itself."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.labels.label_set import Expectation
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set


def document(expect: Any = None, of_dog: Any = None) -> Any:
    dog: dict[str, Any] = {"name": "dog", "prompts": ["a dog"], "act_threshold": 0.5}
    cat = {"name": "cat", "prompts": ["a cat"], "review_threshold": 0.5}
    document = {
        "name": "pets",
        "decision": "exclusive",
        "actions": ["block", "review", "none"],
        "default_action": "none",
        "act_action": "block",
        "review_action": "review",
        "labels": [
            dog | ({"expect": of_dog} if of_dog is not None else {}),
            cat,
            {"name": "other", "prompts": ["a photo"], "neutral": True},
        ],
    }
    return document | ({"expect": expect} if expect is not None else {})


def problem(**given: Any) -> str:
    with pytest.raises(InvalidLabelSet) as caught:
        parse_label_set(document(**given))
    (found,) = caught.value.problems
    return str(found)


def test_a_labels_own_expectation_takes_the_place_of_the_sets_key_by_key() -> None:
    given = document({"precision": 0.9, "recall": 0.5}, {"precision": 0.99})
    assert [label.expect for label in parse_label_set(given).labels] == [
        Expectation(0.99, 0.5),
        Expectation(0.9, 0.5),
        None,
    ]
    assert [label.expect for label in parse_label_set(document()).labels] == [None] * 3


def test_expectations_are_not_part_of_the_version() -> None:
    versions = {
        parse_label_set(document(expect, of_dog)).version
        for expect in (None, {"precision": 0.9})
        for of_dog in (None, {"recall": 0.1})
    }
    # The version of release 0.1.0, which had no expectations.
    assert versions == {"sha256:e1c32b9cdcc821d254dfcef19af4b64f41ea3dd2eea35e56eb8c4e8f1b77cf26"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"expect": {"precison": 0.9}}, "expect.precison: unknown key"),
        ({"expect": {"recall": 90}}, "expect.recall: 90 is no probability"),
        (
            {"of_dog": {"recall": "high"}},
            "labels[0].expect.recall: is the text 'high'",
        ),
        ({"expect": 0.9}, "expect: is the number 0.9; write a mapping with precision, recall"),
        ({"of_dog": [0.9]}, "labels[0].expect: is a list; write a mapping with precision, recall"),
    ],
)
def test_a_mistake_is_reported_at_its_key(given: dict[str, Any], says: str) -> None:
    assert problem(**given).startswith(says)


def test_a_label_that_never_matches_can_expect_nothing() -> None:
    given = document()
    given["labels"][2]["expect"] = {"recall": 0.9}
    with pytest.raises(InvalidLabelSet, match="is of a label that never matches"):
        parse_label_set(given)
