"""CLIP's vision tower prepared for inference: decoded pixels in, unit vectors out.

The mathematics is that of transformers' ``CLIPVisionModel`` and ``visual_projection``. Only the
number of passes over memory differs:

- The patch embedding is one matrix product over patches cut from the uint8 pixels, with the
  preprocessor's (x / 255 - mean) / std folded into its weights.
- Query, key and value come from one product.
- QuickGELU, x * sigmoid(1.702 x), is SiLU of 1.702 x over 1.702. With the factors in the weights
  before and after it, one pass in place replaces three.
- The last layer computes only what the class token needs, because only this token is projected: 6 %
  less arithmetic in ViT-B/32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel
from transformers.activations import QuickGELUActivation

from pipeline.adapters.clip.model import Preprocessing

PIXEL_CENTRE = 128
"""Subtracted from each pixel before the patch product, and added again by its bias. The products
then have both signs and are small, so that little is lost if weights have 8 bits of mantissa. Whole
numbers from -128 to 127 are exact in bf16 and fp16."""

QUICK_GELU = 1.702
"""The steepness of QuickGELU."""


class VisionTower(nn.Module):
    """The weights are copies of the model's, so precision and device change only here.

    If the checkpoint has dropout, it is off, as always in inference.
    """

    def __init__(self, model: CLIPModel, preprocessing: Preprocessing) -> None:
        super().__init__()
        vision: Any = copy.deepcopy(model.vision_model)
        self.patch_edge = int(vision.config.patch_size)
        self.patches = _patch_embedding(vision.embeddings.patch_embedding.weight, preprocessing)
        positions = vision.embeddings.position_embedding.weight.detach()
        # The class token's place in the sequence never depends on the image.
        first = vision.embeddings.class_embedding.detach() + positions[0]
        self.class_token = nn.Buffer(first.clone().view(1, 1, -1))
        self.positions = nn.Buffer(positions[1:].clone().unsqueeze(0))
        self.norm_before: nn.LayerNorm = vision.pre_layrnorm
        *layers, last = map(_Layer, vision.encoder.layers)
        self.layers = nn.Sequential(*layers)
        self.last_layer = last
        self.norm_after: nn.LayerNorm = vision.post_layernorm
        self.projection: nn.Linear = copy.deepcopy(model.visual_projection)
        self.eval().requires_grad_(False)

    @property
    def dimension(self) -> int:
        return self.projection.out_features

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, side, side, 3] to float32 [batch, dimension], each of unit length.

        A row of zeros or infinities becomes NaN, because it is divided without an epsilon. The
        caller checks.
        """
        batch, side, edge = pixels.shape[0], pixels.shape[1], self.patch_edge
        grid = side // edge
        # If the side is not a multiple of the patch, the rest is ignored, as by a convolution.
        pixels = pixels[:, : grid * edge, : grid * edge]
        patches = pixels.reshape(batch, grid, edge, grid, edge, 3).transpose(2, 3)
        values = patches.reshape(batch, grid * grid, edge * edge * 3).to(self.positions.dtype)
        embedded = self.patches(values - PIXEL_CENTRE) + self.positions
        state = torch.cat([self.class_token.expand(batch, -1, -1), embedded], dim=1)
        first = self.last_layer.class_token(self.layers(self.norm_before(state)))
        features = self.projection(self.norm_after(first)).to(torch.float32)
        unit: Tensor = features / torch.linalg.vector_norm(features, dim=-1, keepdim=True)
        return unit


class _Layer(nn.Module):
    """One of the encoder's layers, on states [batch, tokens, width]."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads: int = attention.num_heads
        self.norm_attention: nn.LayerNorm = layer.layer_norm1
        self.query_key_value = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out: nn.Linear = attention.out_proj
        self.norm_mlp: nn.LayerNorm = layer.layer_norm2
        self.up: nn.Linear = layer.mlp.fc1
        self.activation: Callable[[Tensor], Tensor] = layer.mlp.activation_fn
        self.down: nn.Linear = layer.mlp.fc2
        if isinstance(self.activation, QuickGELUActivation):
            self.activation = nn.SiLU(inplace=True)
            up, down = self.up, self.down
            self.up = _linear(up.weight * QUICK_GELU, up.bias * QUICK_GELU)
            self.down = _linear(down.weight / QUICK_GELU, down.bias)

    def forward(self, state: Tensor) -> Tensor:
        joined = self.query_key_value(self.norm_attention(state))
        query, key, value = _by_head(joined, 3, self.heads)
        attended = functional.scaled_dot_product_attention(query, key, value)
        state = state + self.out(attended.transpose(1, 2).flatten(2))
        return state + self._mlp(state)

    def class_token(self, state: Tensor) -> Tensor:
        """What ``forward`` computes for the first token: [batch, width]."""
        width = state.shape[-1]
        normed = self.norm_attention(state)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = functional.linear(normed[:, :1], weight[:width], bias[:width])
        (query,) = _by_head(query, 1, self.heads)
        joined = functional.linear(normed, weight[width:], bias[width:])
        key, value = _by_head(joined, 2, self.heads)
        attended = functional.scaled_dot_product_attention(query, key, value)
        first: Tensor = state[:, 0] + self.out(attended.flatten(1))
        return first + self._mlp(first)

    def _mlp(self, state: Tensor) -> Tensor:
        widened: Tensor = self.up(self.norm_mlp(state))
        narrowed: Tensor = self.down(self.activation(widened))
        return narrowed


def _by_head(joined: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[batch, tokens, parts * width] to ``parts`` of [batch, heads, tokens, width / heads]."""
    batch, tokens, _ = joined.shape
    split = joined.view(batch, tokens, parts, heads, -1)
    return tuple(split.permute(2, 0, 3, 1, 4))


def _patch_embedding(convolution: Tensor, preprocessing: Preprocessing) -> nn.Linear:
    """The convolution [width, 3, edge, edge] over normalised pixels as a product over pixels less
    ``PIXEL_CENTRE``, in their own order: row, column, channel."""
    mean = torch.tensor(preprocessing.mean, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=torch.float64).view(1, 3, 1, 1)
    exact = convolution.detach().to(torch.float64)
    weight = exact / (255 * std)
    bias = (exact * (PIXEL_CENTRE / 255 - mean) / std).sum(dim=(1, 2, 3))
    return _linear(weight.permute(0, 2, 3, 1).flatten(1), bias)


def _joined(*linears: nn.Linear) -> nn.Linear:
    return _linear(
        torch.cat([each.weight for each in linears]), torch.cat([each.bias for each in linears])
    )


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear
