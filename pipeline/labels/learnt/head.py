"""A head: layers of numbers that make the scores of labels from an embedding.

- The input is the embedding as it is published, of unit length, times ``scale``.
- A layer makes ``activation(W x + b)`` of its input ``x``. The last layer has an output
  for each label.
- The score is the softmax of the outputs in an exclusive set, and the logistic function of its own
  output in an independent one. With ``range``, it is the output's place between the two numbers:
  ``(output - low) / (high - low)``, limited to 0 … 1.

All arithmetic is in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import InstanceOf

from pipeline.labels.learnt.logistic import Float64s, sigmoid, softmax

MAX_WEIGHT = 1e6
"""Largest size of a weight. With it, no output of ``MAX_LAYERS`` layers overflows."""
MAX_LAYERS = 16

_ACTIVATIONS: Mapping[str, Callable[[Float64s], Float64s]] = {
    "none": lambda values: values,
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": lambda values: np.tanh(values),
    "sigmoid": sigmoid,
}
ACTIVATIONS = tuple(_ACTIVATIONS)


@dataclass(frozen=True, slots=True)
class Layer:
    """``tensors`` is what the names of the layer's tensors begin with: those of ``layers.0`` are
    ``layers.0.weight`` and ``layers.0.bias``. Empty: ``weight`` and ``bias``."""

    tensors: str = ""
    activation: str = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The matrix [outputs, inputs] and the bias [outputs] of each layer. What a layer puts out is
    what the next one takes in."""

    layers: tuple[tuple[Float64s, Float64s], ...]

    @property
    def inputs(self) -> int:
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        return len(self.layers[-1][1])


@dataclass(frozen=True, slots=True)
class Head:
    """``sha256`` is that of the weights' file. ``weights`` are what the file holds; None where
    nobody has read it. They are no part of what is compared or recorded: the hash stands for them.
    """

    sha256: str
    layers: tuple[Layer, ...] = (Layer(),)
    scale: float = 1.0
    range: tuple[float, float] | None = None
    weights: InstanceOf[Weights] | None = field(default=None, compare=False, repr=False)

    def outputs(self, embeddings: Float64s) -> Float64s:
        """The outputs of the last layer [..., labels] for ``embeddings`` [..., dimension]. The
        weights are there."""
        if self.weights is None:
            raise ValueError("head: has no weights; read their file first")
        values = self.scale * embeddings
        for layer, (matrix, bias) in zip(self.layers, self.weights.layers, strict=True):
            values = _ACTIVATIONS[layer.activation](values @ matrix.T + bias)
        return values

    def scores(self, outputs: Float64s, *, exclusive: bool) -> Float64s:
        """The scores of ``outputs``, of the same shape."""
        if self.range is not None:
            low, high = self.range
            return np.minimum(np.maximum((outputs - low) / (high - low), 0.0), 1.0)
        return softmax(outputs) if exclusive else sigmoid(outputs)
