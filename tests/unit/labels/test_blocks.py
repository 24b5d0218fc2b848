"""Many images scored at a time have the results of each scored alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Reject
from pipeline.labels.blocks import score_block
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import JsonValue
from tests.rigs.stages.backfill_rows import unit_vectors

ENCODER = MemoryEncoder(64)

EXCLUSIVE: JsonValue = {
    "name": "exclusive",
    "decision": "exclusive",
    "actions": ["block", "review", "allow"],
    "default_action": "allow",
    "labels": [
        {"name": "cat", "prompts": ["a cat"], "act_threshold": 0.9, "act_action": "review"},
        {
            "name": "dog",
            "prompts": ["a dog"],
            "act_threshold": 0.8,
            "act_action": "block",
            "review_threshold": 0.1,
            "review_action": "review",
        },
        {"name": "other", "prompts": ["a photo"], "neutral": True},
    ],
}
INDEPENDENT: JsonValue = {
    "name": "independent",
    "decision": "independent",
    "actions": ["block", "review", "allow"],
    "default_action": "review",
    "contrast": ["anything else"],
    "labels": [
        {"name": "cat", "prompts": ["a cat", "a kitten"], "act_threshold": 0.7,
         "act_action": "block"},
        {"name": "dog", "prompts": ["a dog"], "contrast": ["a wolf"], "act_threshold": 0.6,
         "act_action": "review", "review_threshold": 0.3, "review_action": "allow"},
    ],
}  # fmt: skip


def compiled(document: JsonValue) -> CompiledLabelSet:
    label_set = parse_label_set(document)
    (found,) = compile_label_sets([label_set], ENCODER.encode_texts, ENCODER.model)
    return found


@pytest.mark.parametrize("document", [EXCLUSIVE, INDEPENDENT], ids=["exclusive", "independent"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_a_block_has_the_results_of_each_image(document: JsonValue, dtype: str, count: int) -> None:
    label_set = compiled(document)
    embeddings = unit_vectors(count, 64).astype(dtype)
    block = score_block(label_set, embeddings)
    actions = label_set.label_set.actions
    for row, embedding in enumerate(embeddings):
        alone = label_set.score(embedding)
        scores = [each.score for each in alone.scores]
        np.testing.assert_allclose(block.scores[row], scores, rtol=0, atol=1e-9)
        similarities = [each.similarity for each in alone.scores]
        np.testing.assert_allclose(block.similarities[row], similarities, rtol=0, atol=1e-12)
        matched = [
            each.label for each, hit in zip(alone.scores, block.matched[row], strict=True) if hit
        ]
        assert tuple(matched) == alone.matched
        assert actions[block.decisions[row]] == alone.decision
    assert count < 5_000 or len(set(block.decisions.tolist())) > 1


def test_an_embedding_that_is_not_finite_is_refused() -> None:
    embeddings = unit_vectors(3, 64)
    embeddings[1, 5] = np.nan
    with pytest.raises(Reject) as refused:
        score_block(compiled(EXCLUSIVE), embeddings)
    assert refused.value.code == "encode.non_finite"
