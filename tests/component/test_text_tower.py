"""The text tower equals transformers' in each shape and activation listed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.adapters.clip.layers import ACTIVATIONS
from pipeline.adapters.clip.text_tower import TextTower
from pipeline.records import Vector
from tests.rigs.stages.clip_checkpoints import (
    DIMENSION,
    END_ID,
    SMALL_MAX_TOKENS,
    as_read,
    network,
)

START = END_ID - 1
TOLERANCE = 1e-5

PROMPTS = (
    (START, END_ID),
    (START, 5, END_ID),
    (START, 5, 6, 7, END_ID),
    (START, 7, 6, 5, END_ID),
    (START, 5, END_ID, 7, END_ID),  # the end token spelled out in a prompt
    (START, *range(SMALL_MAX_TOKENS - 2), END_ID),
)


def padded(prompts: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    longest = max(map(len, prompts))
    return torch.tensor([[*ids, *[END_ID] * (longest - len(ids))] for ids in prompts])


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"num_hidden_layers": 1},
        {"num_attention_heads": 8},
        {"layer_norm_eps": 1e-2},
        {"attention_dropout": 0.5},
        {"hidden_size": 48},
        {"eos_token_id": 2},  # older checkpoints write 2 and mean the highest id
        *({"hidden_act": name} for name in ACTIVATIONS),
    ],
    ids=str,
)
def test_the_tower_equals_get_text_features(text: dict[str, Any]) -> None:
    of = network(text=text)
    with torch.inference_mode():
        vectors = TextTower(as_read(of))(padded(PROMPTS)).numpy()
        expected: Vector = np.concatenate(
            [
                torch.nn.functional.normalize(
                    of.get_text_features(torch.tensor([ids])).pooler_output, dim=-1
                ).numpy()
                for ids in PROMPTS
            ]
        )
    assert vectors.shape == (len(PROMPTS), DIMENSION)
    np.testing.assert_allclose(vectors, expected, atol=TOLERANCE, rtol=0)
    # The same tokens in another order are another prompt.
    assert np.abs(vectors[2] - vectors[3]).max() > 100 * TOLERANCE
