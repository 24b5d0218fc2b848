"""Prompts of requests are embedded once, as long as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.remembered import RememberedTexts
from pipeline.labels.scoring import compile_label_sets
from pipeline.records import Vector


class Texts:
    """Notes what is embedded."""

    def __init__(self) -> None:
        self.encoder = MemoryEncoder(dimension=8)
        self.asked: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> Vector:
        self.asked.append(list(prompts))
        return self.encoder.encode_texts(prompts)


def test_only_new_prompts_are_embedded_and_all_come_back_in_order() -> None:
    texts = Texts()
    remembered = RememberedTexts(texts, most=10)
    remembered(["a cat", "a dog"])
    both = remembered(["a bird", "a dog", "a bird"])
    assert texts.asked == [["a cat", "a dog"], ["a bird"]]
    np.testing.assert_array_equal(both, texts.encoder.encode_texts(["a bird", "a dog", "a bird"]))


def test_the_prompts_used_last_are_kept() -> None:
    texts = Texts()
    remembered = RememberedTexts(texts, most=2)
    for prompts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        remembered(prompts)
    assert texts.asked == [["a"], ["b"], ["c"], ["b"]]


def test_more_prompts_than_are_kept_come_back_whole() -> None:
    texts = Texts()
    prompts = ["a", "b", "c"]
    np.testing.assert_array_equal(
        RememberedTexts(texts, most=1)(prompts), texts.encoder.encode_texts(prompts)
    )


def test_a_prompt_is_kept_without_those_that_were_embedded_with_it() -> None:
    remembered = RememberedTexts(Texts(), most=1)
    remembered([f"prompt {number}" for number in range(100)])
    (kept,) = remembered._known.values()
    assert kept.base is None


def test_no_prompts_are_no_embeddings() -> None:
    texts = Texts()
    empty = RememberedTexts(texts, most=1)([])
    np.testing.assert_array_equal(empty, texts.encoder.encode_texts([]))


def test_a_prompt_that_is_refused_is_asked_for_again() -> None:
    texts = Texts()
    remembered = RememberedTexts(texts, most=10)
    for _ in range(2):
        with pytest.raises(Halt):
            remembered(["word " * 1000])
    assert len(texts.asked) == 2


def test_label_sets_compiled_by_it_score_the_same() -> None:
    texts = Texts()
    label_set = parse_label_set(
        {
            "name": "pets",
            "decision": "exclusive",
            "actions": ["review", "keep"],
            "default_action": "keep",
            "labels": [{"name": "cat", "prompts": ["a cat"]}, {"name": "dog", "prompts": ["dogs"]}],
        }
    )
    embedding = texts.encoder.encode_texts(["a cat"])[0]
    remembered = RememberedTexts(texts, most=10)
    model = texts.encoder.model
    scores = [
        compile_label_sets([label_set], encode, model).score(("pets",), embedding)
        for encode in (texts.encoder.encode_texts, remembered, remembered)
    ]
    assert scores[0] == scores[1] == scores[2]
    assert len(texts.asked) == 1
