"""Prompts that a model reads alike or cannot take, found by its tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.labels.label_set import Decision, Label, LabelSet
from pipeline.labels.wording.prompts import Alike, alike_labels, prompt_problems
from pipeline.ports import PromptTokens
from pipeline.records import Vector

MAX_TOKENS = 6


def tokenize(prompts: Sequence[str]) -> list[list[int]]:
    """A token a word, in one case and one Unicode form."""
    texts = [unicodedata.normalize("NFC", prompt).lower() for prompt in prompts]
    return [[0, *(hash(word) for word in text.split()), 1] for text in texts]


TOKENS = PromptTokens(tokenize, MAX_TOKENS)


def found(*labels: Label, tokens: PromptTokens | None = TOKENS) -> dict[int, str]:
    """The problems by their label's place."""
    decision = Decision.INDEPENDENT if labels[0].contrast else Decision.EXCLUSIVE
    label_set = LabelSet("set", decision, ("review", "none"), "none", "review", labels)
    problems = {}
    for problem in prompt_problems(label_set, tokens):
        place, index = problem.path
        assert place == "labels"
        assert isinstance(index, int)
        problems[index] = problem.message
    return problems


def label(name: str, *prompts: str, against: tuple[str, ...] = ()) -> Label:
    return Label(name, prompts, against)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a cat",), ("a cat",)),
        (("a cat",), ("A Cat",)),
        (("a café",), ("a cafe\u0301",)),
        (("a cat", "a dog"), ("A dog", "a Cat")),
        (("a cat", "A CAT"), ("a cat",)),  # the mean of the two is the one
        (("a cat", "A CAT", "a dog", "A dog"), ("a dog", "a cat")),
    ],
)
def test_labels_of_equal_tokens_are_a_problem_of_the_second(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    problems = found(label("first", *one), label("fine", "a bird"), label("second", *other))
    assert list(problems) == [2]
    assert "cannot tell it from 'first'" in problems[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a cat",), ("a dog",)),
        (("a cat", "a dog"), ("A cat", "a bird")),  # one prompt is shared
        (("a cat", "a dog"), ("a cat",)),
        (("a cat", "A cat", "a dog"), ("a cat", "a dog")),  # another mixture
    ],
)
def test_labels_of_other_tokens_are_no_problem(
    one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert found(label("first", *one), label("second", *other)) == {}


def test_a_label_equal_to_its_contrast_is_a_problem_and_one_shared_prompt_is_not() -> None:
    assert "always be 0.5" in found(label("cat", "a cat", against=("A CAT",)))[0]
    assert found(label("cat", "a cat", against=("A CAT", "a dog"))) == {}


def test_independent_labels_of_equal_prompts_are_told_apart_by_their_contrasts() -> None:
    one = label("one", "a cat", against=("a dog",))
    assert found(one, label("other", "a cat", against=("a bird",))) == {}
    assert list(found(one, label("other", "A cat", against=("a Dog",)))) == [1]


def test_without_tokens_only_equal_texts_are_known_to_be_equal() -> None:
    cat = label("cat", "a cat")
    assert list(found(cat, label("kitten", "a cat"), tokens=None)) == [1]
    assert found(cat, label("kitten", "A cat"), tokens=None) == {}


def test_a_prompt_of_too_many_tokens_is_told_once_with_their_number() -> None:
    fitting, long = "a b c d", "a b c d e"
    assert found(label("one", fitting), label("other", "a")) == {}
    problems = found(
        label("one", fitting, against=(long,)), label("other", "a", against=(long, "b"))
    )
    assert list(problems) == [0]
    assert "'a b c d e' has 7 tokens, more than the model's 6" in problems[0]


ANGLES = {"dog": 0, "hound": 11, "wolf": 12, "puppy": 45, "cat": 90, "kitten": 130, "photo": 180}
"""Degrees: 11 are a cosine of 0.982, and 12 one of 0.978."""


def on_a_circle(prompts: Sequence[str]) -> Vector:
    angles = np.radians([ANGLES[each] for each in prompts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def alike(*labels: Label) -> list[Alike]:
    decision = Decision.INDEPENDENT if labels[0].contrast else Decision.EXCLUSIVE
    label_set = LabelSet("set", decision, ("review", "none"), "none", "review", labels)
    return list(alike_labels(label_set, on_a_circle))


def test_labels_are_alike_if_any_of_their_prompts_are_nearly_the_same() -> None:
    (found,) = alike(label("a", "puppy", "dog"), label("b", "cat"), label("c", "kitten", "hound"))
    assert (found.label, found.other, found.prompts) == ("a", "c", ("dog", "hound"))
    assert found.cosine == pytest.approx(0.9816, abs=1e-4)
    assert "'a' and 'c' are nearly the same to the model: 'dog' and 'hound'" in str(found)
    assert alike(label("a", "dog"), label("b", "wolf"), label("c", "cat", "kitten")) == []


def test_a_label_can_be_alike_to_its_own_contrast() -> None:
    against = ("photo", "hound")
    (found,) = alike(label("a", "dog", against=against), label("b", "cat", against=("photo",)))
    assert (found.label, found.other, found.prompts) == ("a", None, ("dog", "hound"))
    assert "'a' and its contrast" in str(found)


def test_a_prompt_that_two_labels_share_is_told() -> None:
    (found,) = alike(label("a", "dog", "puppy"), label("b", "cat", "dog"))
    assert found.prompts == ("dog", "dog")
