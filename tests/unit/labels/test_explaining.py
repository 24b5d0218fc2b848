"""Each step of a derivation leads to the next, in sets of both kinds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.labels.explaining import Explanation, explain
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import ImageFacts, JsonValue, LabelSetResult, Looked

ENCODER = MemoryEncoder(dimension=16)
PROMPTS = {"cat": ["a cat", "one cat"], "dog": ["a dog"], "owl": ["an owl", "the owl", "owls"]}


def label_set(decision: str, act: float, review: float) -> JsonValue:
    shared: dict[str, JsonValue] = {"contrast": ["a photo"]} if decision == "independent" else {}
    return {
        "name": "pets",
        "decision": decision,
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "act_action": "block",
        "review_action": "review",
        "labels": [
            {"name": name, "prompts": [*prompts], "act_threshold": act, "review_threshold": review}
            for name, prompts in PROMPTS.items()
        ],
        **shared,
    }


def compiled(document: JsonValue) -> CompiledLabelSet:
    (found,) = compile_label_sets([parse_label_set(document)], ENCODER.encode_texts, ENCODER.model)
    return found


def looked(dtype: str, seed: int = 3) -> Looked:
    vector = np.random.default_rng(seed).normal(size=16)
    embedding: npt.NDArray[np.floating] = (vector / np.linalg.norm(vector)).astype(dtype)
    facts = ImageFacts("JPEG", 10, 10, 1, 0.0)
    return Looked(embedding, ENCODER.model, facts, "0" * 64, 3, "strict", "transformers")


def explained(
    rules: CompiledLabelSet, published: LabelSetResult | None = None, dtype: str = "<f4"
) -> Explanation:
    seen = looked(dtype)
    return explain(rules, ENCODER.encode_texts, seen, published or rules.score(seen.embedding))


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@pytest.mark.parametrize("decision", ["exclusive", "independent"])
def test_prompts_lead_to_cosines_cosines_to_logits_and_logits_to_scores(
    decision: str, dtype: str
) -> None:
    rules = compiled(label_set(decision, 0.9, 0.4))
    found = explained(rules, dtype=dtype)
    total = sum(math.exp(each.logit) for each in found.labels)
    for each in found.labels:
        mean = np.mean([step.cosine for step in each.prompts])
        assert mean / each.mean_length == pytest.approx(each.similarity, abs=1e-6)
        cosine = each.similarity - (each.contrast or 0.0)
        assert each.logit == pytest.approx(ENCODER.model.logit_scale * cosine)
        assert (each.contrast is None) == (decision == "exclusive")
        expected = (
            math.exp(each.logit) / total
            if decision == "exclusive"
            else 1 / (1 + math.exp(-each.logit))
        )
        assert each.score == pytest.approx(expected, abs=1e-9)
        assert each.score == each.published_score
    assert found.differences == ()
    assert found.largest_difference == 0.0


def test_a_decision_that_was_raised_is_derived_with_its_reason() -> None:
    document = label_set("exclusive", 1.0, 1.0)
    assert isinstance(document, dict)
    rules = compiled({**document, "review_if": {"frames": 2}})
    animated = replace(looked("<f4"), image=ImageFacts("GIF", 10, 10, 3, 0.0))
    published = rules.judge(animated)
    assert (published.decision, published.labels_decision) == ("review", "allow")
    found = explain(rules, ENCODER.encode_texts, animated, published)
    assert found.differences == ()
    assert found.rule.endswith("review_if raises it to 'review' because of frames")
    hidden = replace(published, decision="allow", raised=(), labels_decision=None)
    differences = explain(rules, ENCODER.encode_texts, animated, hidden).differences
    assert [("decision" in each, "review_if" in each) for each in differences] == [
        (True, False),
        (False, True),
    ]


def test_the_rule_names_the_label_and_the_threshold_that_decide() -> None:
    scores = {
        each.label: each.score for each in explained(compiled(label_set("exclusive", 1, 0))).labels
    }
    best = max(scores, key=lambda label: scores[label])
    between = explained(compiled(label_set("exclusive", 1.0, scores[best])))
    assert between.decision == "review"
    assert f"{best!r} scores" in between.rule
    assert "at or above its review_threshold" in between.rule
    above = explained(compiled(label_set("exclusive", scores[best], scores[best])))
    assert above.decision == "block"
    assert "act_threshold" in above.rule
    none = explained(compiled(label_set("independent", 1.0, 1.0)))
    assert none.rule == "no label reaches a threshold, so the decision is the default, 'allow'"


def test_only_what_differs_is_said() -> None:
    rules = compiled(label_set("independent", 0.9, 0.4))
    published = rules.score(looked("<f4").embedding)
    first, *others = published.scores
    for altered, told in (
        (replace(published, scores=(replace(first, score=first.score + 2e-6), *others)), "score"),
        (replace(published, scores=(replace(first, similarity=math.nan), *others)), "similarity"),
        (replace(published, matched=("owl", "cat")), "match"),
        (replace(published, decision="keep"), "decision"),
        (replace(published, scores=tuple(others)), "lists the labels"),
    ):
        (difference,) = explained(rules, altered).differences
        assert told in difference
    close = replace(published, scores=(replace(first, score=first.score + 9e-7), *others))
    assert explained(rules, close).differences == ()
    assert explained(rules, close).largest_difference == pytest.approx(9e-7)
