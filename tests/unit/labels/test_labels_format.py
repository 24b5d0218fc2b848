"""Plain data becomes a label set, or all of its problems with the keys they stand at."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.complaints import KeyPath
from pipeline.labels.label_set import Decision, Label, ModelPin, Threshold
from pipeline.labels.parsing import (
    MAX_LABELS,
    MAX_PROMPTS_PER_LABEL,
    InvalidLabelSet,
    parse_label_set,
)

Document = dict[str, Any]

INDEPENDENT: Document = {
    "name": "moderation",
    "decision": "independent",
    "actions": ["block", "review", "allow"],
    "default_action": "allow",
    "act_action": "block",
    "review_action": "review",
    "templates": ["a photo of {}", "a drawing of {}"],
    "contrast": ["a meadow"],
    "labels": [
        {"name": "gore", "act_threshold": 0.9, "review_threshold": 0.6},
        {"name": "weapon", "phrases": ["a gun", "a knife"], "contrast": ["a toy"]},
    ],
}
EXCLUSIVE: Document = {
    "name": "pets",
    "decision": "exclusive",
    "actions": ["review", "tag", "none"],
    "default_action": "none",
    "labels": [
        {"name": "dog", "prompts": ["a dog"], "act_threshold": 1, "act_action": "tag"},
        {"name": "other", "prompts": ["a photo"], "neutral": True},
    ],
}


def changed(document: Document, path: KeyPath, value: object) -> Document:
    """The document with one value replaced, added, or (with KeyError) removed."""
    document = copy.deepcopy(document)
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return document


def problems(document: Any) -> dict[KeyPath, str]:
    with pytest.raises(InvalidLabelSet) as caught:
        parse_label_set(document)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_templates_are_filled_and_shared_values_reach_the_labels() -> None:
    label_set = parse_label_set(INDEPENDENT)

    assert label_set.decision is Decision.INDEPENDENT
    assert label_set.unclassified_action == "review"
    assert label_set.labels == (
        Label(
            "gore",
            ("a photo of gore", "a drawing of gore"),
            ("a meadow",),
            act=Threshold(0.9, "block"),
            review=Threshold(0.6, "review"),
        ),
        Label(
            "weapon",
            (
                "a photo of a gun",
                "a drawing of a gun",
                "a photo of a knife",
                "a drawing of a knife",
            ),
            ("a toy",),
        ),
    )


def test_prompts_are_used_as_they_are_before_those_made_from_phrases() -> None:
    document = changed(
        INDEPENDENT,
        ("labels", 0),
        {"name": "gore", "prompts": ["blood"], "phrases": ["a wound"]},
    )

    (gore, _) = parse_label_set(document).labels

    assert gore.prompts == ("blood", "a photo of a wound", "a drawing of a wound")


def test_an_exclusive_set_has_neutral_labels_and_no_contrast() -> None:
    dog, other = parse_label_set(EXCLUSIVE).labels

    assert dog == Label("dog", ("a dog",), act=Threshold(1.0, "tag"))
    assert other == Label("other", ("a photo",), neutral=True)


@pytest.mark.parametrize(
    ("word", "meaning"), [("yes", True), ("On", True), ("NO", False), ("off", False)]
)
def test_a_flag_may_be_one_of_the_words_that_are_texts_elsewhere(word: str, meaning: bool) -> None:
    _, other = parse_label_set(changed(EXCLUSIVE, ("labels", 1, "neutral"), word)).labels
    assert other.neutral is meaning


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sexual", ("sexual",)),
        (["violence/graphic", "violence"], ("violence", "violence/graphic")),
    ],
)
def test_a_label_covers_one_category_or_several_in_any_order(
    written: str | list[str], meant: tuple[str, ...]
) -> None:
    gore, weapon = parse_label_set(changed(INDEPENDENT, ("labels", 0, "category"), written)).labels
    assert gore.categories == meant
    assert weapon.categories == ()


def test_a_model_pin_is_read() -> None:
    document = changed(EXCLUSIVE, ("model",), {"name": "clip", "revision": "sha256:ab"})

    assert parse_label_set(document).model == ModelPin("clip", "sha256:ab")


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(INDEPENDENT.items())),
        changed(INDEPENDENT, ("unclassified_action",), "review"),
        changed(INDEPENDENT, ("contrast",), ["  a\n meadow "]),
        changed(INDEPENDENT, ("labels", 0, "contrast"), ["a meadow"]),
        changed(INDEPENDENT, ("labels", 0, "neutral"), False),
        changed(INDEPENDENT, ("labels", 0, "phrases"), ["gore"]),
    ],
    ids=["key order", "default", "white space", "shared contrast", "not neutral", "own phrase"],
)
def test_another_way_to_write_the_same_keeps_the_version(same: Document) -> None:
    assert parse_label_set(same).version == parse_label_set(INDEPENDENT).version


@pytest.mark.parametrize("action", ["block", "review", "allow"])
def test_a_written_unclassified_action_is_kept(action: str) -> None:
    document = changed(INDEPENDENT, ("unclassified_action",), action)

    assert parse_label_set(document).unclassified_action == action


@pytest.mark.parametrize(
    ("document", "path", "value", "at", "message"),
    [
        (EXCLUSIVE, ("name",), KeyError, (), "name is missing"),
        (EXCLUSIVE, ("name",), "a b", ("name",), "letters, digits"),
        (EXCLUSIVE, ("name",), "-a", ("name",), "letters, digits"),
        (EXCLUSIVE, ("name",), "a" * 65, ("name",), "1 to 64"),
        (EXCLUSIVE, ("name",), None, ("name",), "is empty; write a text"),
        (EXCLUSIVE, ("name",), False, ("name",), "boolean false; write a text, in quotes"),
        (EXCLUSIVE, ("decision",), KeyError, (), "decision is missing"),
        (EXCLUSIVE, ("decision",), "softmax", ("decision",), "write exclusive or independent"),
        (EXCLUSIVE, ("actions",), KeyError, (), "actions is missing"),
        (EXCLUSIVE, ("actions",), [], ("actions",), "empty list"),
        (EXCLUSIVE, ("actions",), "review", ("actions",), "write a list"),
        (EXCLUSIVE, ("actions", 1), "review", ("actions", 1), "twice"),
        (EXCLUSIVE, ("actions", 0), "look at", ("actions", 0), "is no name"),
        (EXCLUSIVE, ("actions",), ["tag", "none"], ("actions",), "lacks 'review'"),
        (EXCLUSIVE, ("default_action",), KeyError, (), "default_action is missing"),
        (EXCLUSIVE, ("default_action",), "nono", ("default_action",), "review, tag, none"),
        (EXCLUSIVE, ("unclassified_action",), "x", ("unclassified_action",), "not among actions"),
        (EXCLUSIVE, ("act_action",), "x", ("act_action",), "not among actions"),
        (EXCLUSIVE, ("templates",), ["a photo"], ("templates", 0), "write {} once"),
        (EXCLUSIVE, ("templates",), ["{} {}"], ("templates", 0), "write {} once"),
        (EXCLUSIVE, ("templates",), ["{} {x}"], ("templates", 0), "no other braces"),
        (EXCLUSIVE, ("contrast",), ["a photo"], ("contrast",), "neutral labels instead"),
        (EXCLUSIVE, ("model",), "clip", ("model",), "mapping with name, revision"),
        (EXCLUSIVE, ("model",), {"name": "clip"}, ("model",), "revision is missing"),
        (EXCLUSIVE, ("template",), ["{}"], ("template",), "did you mean templates?"),
        (EXCLUSIVE, ("xyzzy",), 1, ("xyzzy",), "known are name, decision"),
        (EXCLUSIVE, ("labels",), KeyError, (), "labels is missing"),
        (EXCLUSIVE, ("labels",), {}, ("labels",), "is a mapping; write a list"),
        (EXCLUSIVE, ("labels", 1), "dog", ("labels", 1), "the text 'dog'; write a mapping"),
        (EXCLUSIVE, ("labels",), EXCLUSIVE["labels"][:1], ("labels",), "always scores 1"),
        (EXCLUSIVE, ("labels",), EXCLUSIVE["labels"][1:], ("labels",), "all are neutral"),
        (EXCLUSIVE, ("labels", 0, "name"), KeyError, ("labels", 0), "name is missing"),
        (EXCLUSIVE, ("labels", 1, "name"), "dog", ("labels", 1, "name"), "is taken"),
        (EXCLUSIVE, ("labels", 0, "name"), "d" * 101, ("labels", 0, "name"), "more than 100"),
        (EXCLUSIVE, ("labels", 0, "name"), "a\x00b", ("labels", 0, "name"), "control character"),
        (EXCLUSIVE, ("labels", 0, "name"), "\ud800", ("labels", 0, "name"), "control character"),
        (EXCLUSIVE, ("labels", 0, "prompts"), KeyError, ("labels", 0), "nothing to embed"),
        (EXCLUSIVE, ("labels", 0, "phrases"), ["x"], ("labels", 0, "phrases"), "write templates"),
        (EXCLUSIVE, ("labels", 0, "prompts"), [" "], ("labels", 0, "prompts", 0), "empty text"),
        (EXCLUSIVE, ("labels", 0, "prompts"), ["a {}"], ("labels", 0, "prompts", 0), "braces"),
        (EXCLUSIVE, ("labels", 0, "prompts"), ["x" * 501], ("labels", 0, "prompts", 0), "501"),
        (EXCLUSIVE, ("labels", 0, "contrast"), ["x"], ("labels", 0, "contrast"), "neutral labels"),
        (
            EXCLUSIVE,
            ("labels", 1, "prompts"),
            ["a dog"],
            ("labels", 1),
            "cannot tell it from 'dog'",
        ),
        (EXCLUSIVE, ("labels", 1, "neutral"), "si", ("labels", 1, "neutral"), "true or false"),
        (EXCLUSIVE, ("labels", 0, "neutral"), True, ("labels", 0, "neutral"), "never matches"),
        (EXCLUSIVE, ("labels", 0, "act_threshold"), 1.1, ("labels", 0, "act_threshold"), "0 to 1"),
        (EXCLUSIVE, ("labels", 0, "act_threshold"), -1, ("labels", 0, "act_threshold"), "0 to 1"),
        (EXCLUSIVE, ("labels", 0, "act_threshold"), "1", ("labels", 0, "act_threshold"), "0 to 1"),
        (EXCLUSIVE, ("labels", 0, "act_threshold"), True, ("labels", 0, "act_threshold"), "0 to 1"),
        (
            EXCLUSIVE,
            ("labels", 0, "act_threshold"),
            float("nan"),
            ("labels", 0, "act_threshold"),
            "nan is no probability",
        ),
        (
            EXCLUSIVE,
            ("labels", 0, "act_action"),
            KeyError,
            ("labels", 0, "act_threshold"),
            "has no",
        ),
        (
            EXCLUSIVE,
            ("labels", 0, "review_action"),
            "review",
            ("labels", 0, "review_action"),
            "does nothing without review_threshold",
        ),
        (INDEPENDENT, ("contrast",), KeyError, ("labels", 0), "has no contrast"),
        (
            INDEPENDENT,
            ("contrast",),
            ["a photo of gore"],
            ("labels", 0),
            "both a prompt and its contrast",
        ),
        (INDEPENDENT, ("labels", 1, "neutral"), True, ("labels", 1, "neutral"), "under contrast"),
        (
            INDEPENDENT,
            ("labels", 0, "review_threshold"),
            0.95,
            ("labels", 0, "review_threshold"),
            "above act_threshold = 0.9",
        ),
        (INDEPENDENT, ("act_action",), "allow", ("act_action",), "less severe than review_action"),
        (
            INDEPENDENT,
            ("labels", 0, "act_action"),
            "allow",
            ("labels", 0, "act_action"),
            "less severe than review_action",
        ),
        (
            INDEPENDENT,
            ("labels", 1, "prompts"),
            ["a photo of a gun"],
            ("labels", 1),
            "makes the prompt 'a photo of a gun' twice",
        ),
        (
            INDEPENDENT,
            ("labels", 1, "phrases"),
            ["x" * 495],
            ("labels", 1),
            "makes a prompt that is too long",
        ),
        (
            INDEPENDENT,
            ("labels", 1, "phrases"),
            [f"thing {number}" for number in range(MAX_PROMPTS_PER_LABEL)],
            ("labels", 1),
            f"makes {2 * MAX_PROMPTS_PER_LABEL} prompts",
        ),
        (INDEPENDENT, ("labels", 0, "category"), "gore", ("labels", 0, "category"), "is unknown"),
        (
            INDEPENDENT,
            ("labels", 0, "category"),
            ["violence", "violance/graphic"],
            ("labels", 0, "category", 1),
            "did you mean violence/graphic?",
        ),
        (INDEPENDENT, ("labels", 0, "category"), 3, ("labels", 0, "category"), "write a list"),
        (INDEPENDENT, ("labels", 0, "category"), [], ("labels", 0, "category"), "empty list"),
        (
            INDEPENDENT,
            ("labels", 0, "category"),
            ["sexual", "sexual"],
            ("labels", 0, "category", 1),
            "twice",
        ),
        (
            INDEPENDENT,
            ("labels", 1, "category"),
            "illicit",
            ("labels", 1, "category"),
            "would never be flagged; write review_threshold",
        ),
        (
            EXCLUSIVE,
            ("labels", 1, "category"),
            "sexual",
            ("labels", 1, "category"),
            "remove its category",
        ),
        (
            EXCLUSIVE,
            ("labels",),
            [{"name": f"{n}", "prompts": [f"{n}"]} for n in range(MAX_LABELS + 1)],
            ("labels",),
            "split the label set",
        ),
    ],
)
def test_a_mistake_is_reported_at_its_key_with_what_to_write(
    document: Document, path: KeyPath, value: object, at: KeyPath, message: str
) -> None:
    document = changed(document, path, value)

    found = problems(document)

    assert message in found[at]


def test_one_mistake_is_one_problem() -> None:
    mistakes: list[tuple[Document, KeyPath, object]] = [
        (INDEPENDENT, ("decision",), "softmax"),
        (INDEPENDENT, ("labels", 0, "category"), "gore"),
        (INDEPENDENT, ("labels", 0, "category"), ["gore"]),
        (INDEPENDENT, ("templates",), "a photo of {}"),
        (INDEPENDENT, ("contrast",), []),
        (INDEPENDENT, ("labels", 0, "act_threshold"), "high"),
        (EXCLUSIVE, ("actions",), KeyError),
        (EXCLUSIVE, ("labels",), "dog"),
        (EXCLUSIVE, ("labels", 1), "dog"),
        (INDEPENDENT, ("labels", 1), None),
    ]
    for document, path, value in mistakes:
        assert len(problems(changed(document, path, value))) == 1, path


def test_both_thresholds_may_call_for_the_same_action() -> None:
    document = changed(INDEPENDENT, ("labels", 0, "review_action"), "block")

    assert parse_label_set(document).labels[0].review == Threshold(0.6, "block")


def test_every_problem_is_reported_at_once() -> None:
    document = changed(INDEPENDENT, ("nane",), "x")
    document = changed(document, ("default_action",), "none")
    document = changed(document, ("labels", 0, "review_threshold"), 0.95)
    document = changed(document, ("labels", 1, "name"), "gore")

    assert set(problems(document)) == {
        ("nane",),
        ("default_action",),
        ("labels", 0, "review_threshold"),
        ("labels", 1, "name"),
    }


@pytest.mark.parametrize("document", [None, [], "moderation", 3, {}])
def test_what_is_no_mapping_of_a_label_set_is_refused(document: object) -> None:
    assert problems(document)


def test_an_unknown_key_cannot_break_the_line_of_its_problem() -> None:
    with pytest.raises(InvalidLabelSet) as caught:
        parse_label_set({**EXCLUSIVE, "a\nb": 1})

    assert "\n" not in str(caught.value)
