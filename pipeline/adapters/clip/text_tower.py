"""CLIP's text tower prepared for inference: token ids in, unit vectors out.

The mathematics is that of transformers' ``CLIPTextModel`` and ``text_projection``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.adapters.clip.layers import layers, linear, norm, unit
from pipeline.adapters.clip.model import ClipModel

NAME = "text_model"
"""Begins the names of the tower's weights."""


class TextTower(nn.Module):
    """Always in fp32. It runs once for each label set, and its vectors, which are cached, then do
    not depend on the image tower's precision."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        weights, config = model.weights, model.config.text_config
        self.tokens = nn.Buffer(weights[f"{NAME}.embeddings.token_embedding.weight"])
        self.positions = nn.Buffer(weights[f"{NAME}.embeddings.position_embedding.weight"])
        self.layers = nn.Sequential(*layers(weights, NAME, config, causal=True))
        self.norm_after = norm(weights, f"{NAME}.final_layer_norm", config)
        self.projection = linear(weights["text_projection.weight"])
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [batch, tokens] to float32 [batch, dimension], each of unit length.

        Each row ends with its end token, repeated up to the length of the longest row. A row's
        vector comes from its first end token. A token attends only to itself and earlier tokens, so
        the padding changes nothing.
        """
        state = self.layers(self.tokens[ids] + self.positions[: ids.shape[1]])
        ends = (ids == ids[:, -1:]).to(torch.int).argmax(dim=1)
        first = state[torch.arange(len(ids), device=ids.device), ends]
        return unit(self.projection(self.norm_after(first)))
