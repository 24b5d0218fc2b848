"""The layers that CLIP's two towers consist of, prepared for inference.

The mathematics is that of transformers' ``CLIPEncoderLayer``. Only the number of passes over memory
differs:

- Query, key and value come from one product.
- QuickGELU, x * sigmoid(1.702 x), is SiLU of 1.702 x over 1.702. With the factors in the weights
  before and after it, one pass in place replaces three.

Modules share memory with the weights that they are made of. Moving a module to another device or
precision leaves the weights as they are; writing to a parameter in place would not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights = Mapping[str, Tensor]
"""A checkpoint's weights in fp32 on the CPU, by the names that transformers gives them."""

QUICK_GELU = 1.702
"""The steepness of QuickGELU."""

_TANH_GELU = partial(nn.GELU, approximate="tanh")

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "quick_gelu": partial(nn.SiLU, inplace=True),  # with the factors in the weights
    "gelu": nn.GELU,
    "gelu_python": nn.GELU,
    "gelu_accurate": _TANH_GELU,
    "gelu_fast": _TANH_GELU,
    "gelu_new": _TANH_GELU,
    "gelu_python_tanh": _TANH_GELU,
    "gelu_pytorch_tanh": _TANH_GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
}
"""By the names of ``hidden_act``. Names with the same value are the same function, which
transformers writes in several ways."""


class Layer(nn.Module):
    """One layer, on states [batch, tokens, width].

    If the checkpoint has dropout, it is off, as always in inference.
    """

    def __init__(self, weights: Weights, name: str, config: Any, *, causal: bool) -> None:
        """``name`` is the layer's among the weights, ``config`` that of its tower. In a ``causal``
        layer a token attends only to itself and those before it."""
        super().__init__()
        self.heads = int(config.num_attention_heads)
        self.causal = causal
        self.norm_attention = norm(weights, f"{name}.layer_norm1", config)
        query, key, value = (f"{name}.self_attn.{each}_proj" for each in "qkv")
        self.query_key_value = linear(
            torch.cat([weights[f"{each}.weight"] for each in (query, key, value)]),
            torch.cat([weights[f"{each}.bias"] for each in (query, key, value)]),
        )
        attention, up, down = f"{name}.self_attn.out_proj", f"{name}.mlp.fc1", f"{name}.mlp.fc2"
        self.out = linear(weights[f"{attention}.weight"], weights[f"{attention}.bias"])
        self.norm_mlp = norm(weights, f"{name}.layer_norm2", config)
        self.up = linear(weights[f"{up}.weight"], weights[f"{up}.bias"])
        self.activation = ACTIVATIONS[config.hidden_act]()
        self.down = linear(weights[f"{down}.weight"], weights[f"{down}.bias"])
        if config.hidden_act == "quick_gelu":
            self.up = linear(self.up.weight * QUICK_GELU, self.up.bias * QUICK_GELU)
            self.down = linear(self.down.weight / QUICK_GELU, self.down.bias)

    def forward(self, state: Tensor) -> Tensor:
        joined = self.query_key_value(self.norm_attention(state))
        query, key, value = _by_head(joined, 3, self.heads)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        state = state + self.out(attended.transpose(1, 2).flatten(2))
        return state + self._mlp(state)

    def first_token(self, state: Tensor) -> Tensor:
        """What ``forward`` of a layer that is not causal computes for the first token:
        [batch, width]."""
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


def layers(weights: Weights, tower: str, config: Any, *, causal: bool) -> list[Layer]:
    """The layers of a tower, in order."""
    return [
        Layer(weights, f"{tower}.encoder.layers.{number}", config, causal=causal)
        for number in range(config.num_hidden_layers)
    ]


def norm(weights: Weights, name: str, config: Any) -> nn.LayerNorm:
    """The layer normalisation of a name."""
    weight = weights[f"{name}.weight"]
    made = nn.LayerNorm(weight.shape, config.layer_norm_eps, device="meta")
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(weights[f"{name}.bias"])
    return made


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """x to ``weight`` x + ``bias``; ``weight`` is [out, in]."""
    # On meta, because otherwise random numbers would be drawn first.
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(bias)
    return made


def unit(features: Tensor) -> Tensor:
    """[batch, dimension] to float32 rows of unit length.

    A row of zeros or infinities becomes NaN, because it is divided without an epsilon. The caller
    checks.
    """
    wide = features.to(torch.float32)
    rows: Tensor = wide / torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return rows


def _by_head(joined: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[batch, tokens, parts * width] to ``parts`` of [batch, heads, tokens, width / heads]."""
    batch, tokens, _ = joined.shape
    split = joined.view(batch, tokens, parts, heads, -1)
    return tuple(split.permute(2, 0, 3, 1, 4))
