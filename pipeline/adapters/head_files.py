"""The weights of heads: safetensors files beside the label sets that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.labels.label_set import LabelSet
from pipeline.labels.learnt.head import MAX_WEIGHT, Head, Weights
from pipeline.labels.learnt.logistic import Float64s

MAX_WEIGHTS_BYTES = 64 << 20
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


class Unusable(Exception):
    """The file holds no weights of this head. The message says why, and what to do."""


def read_weights(path: Path) -> bytes:
    """The file's content.

    Raises:
        Unusable: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            body = file.read(MAX_WEIGHTS_BYTES + 1)
    except OSError as error:
        raise Unusable(
            f"{path.name} cannot be read ({error.strerror}); put it beside the label set"
        ) from error
    if len(body) > MAX_WEIGHTS_BYTES:
        raise Unusable(f"{path.name} has more than {MAX_WEIGHTS_BYTES} bytes; use a smaller head")
    return body


def with_weights(label_set: LabelSet, body: bytes) -> LabelSet:
    """The label set with the weights that ``body``, the content of a file, holds for its head.

    Raises:
        Unusable: it is another file than the label set names, or does not fit.
    """
    head = label_set.head
    if head is None:
        return label_set
    found = hashlib.sha256(body).hexdigest()
    if found != head.sha256:
        raise Unusable(
            f"the file has the SHA-256 {found}, and head.sha256 names {head.sha256}; it is another "
            "file, or not copied whole yet: copy it again, or write its SHA-256"
        )
    weights = _weights(head, body)
    if weights.outputs != len(label_set.labels):
        raise Unusable(
            f"the last layer has {weights.outputs} outputs for {len(label_set.labels)} labels; "
            "write one label for each output"
        )
    return replace(label_set, head=replace(head, weights=weights))


def linear_weights(matrix: Float64s, bias: Float64s) -> bytes:
    """The file of one layer: ``weight`` [labels, dimension] and ``bias`` [labels], as float32."""
    return save({"weight": matrix.astype(np.float32), "bias": bias.astype(np.float32)})


def _weights(head: Head, body: bytes) -> Weights:
    try:
        tensors = load(body)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Unusable(
            f"the file is no safetensors file that can be read here ({error}); convert it, with "
            "tensors of float16, float32 or float64"
        ) from error
    layers: list[tuple[Float64s, Float64s]] = []
    used: set[str] = set()
    for layer in head.layers:
        names = [
            f"{layer.tensors}.{part}" if layer.tensors else part for part in ("weight", "bias")
        ]
        if names[0] not in tensors:
            there = ", ".join(sorted(tensors)[:8]) or "none"
            raise Unusable(
                f"the file has no tensor {names[0]} (its tensors: {there}); write its layers under "
                "head.layers"
            )
        used |= {*names}
        matrix = _tensor(tensors, names[0], 2)
        inputs = layers[-1][0].shape[0] if layers else matrix.shape[1]
        if not matrix.size or matrix.shape[1] != inputs:
            raise Unusable(
                f"{names[0]} has the shape {list(matrix.shape)}, and takes in {inputs} numbers; "
                "mend the order of head.layers"
            )
        bias = np.zeros(len(matrix))
        if names[1] in tensors:
            bias = _tensor(tensors, names[1], 1)
        if len(bias) != len(matrix):
            raise Unusable(
                f"{names[1]} has {len(bias)} numbers for {len(matrix)} outputs; check the file"
            )
        layers.append((matrix, bias))
    if left := sorted(tensors.keys() - used):
        raise Unusable(
            f"no layer uses the tensors {', '.join(left[:8])}; write all layers under head.layers, "
            "or remove these tensors"
        )
    return Weights(tuple(layers))


def _tensor(tensors: Mapping[str, npt.NDArray[np.generic]], name: str, dimensions: int) -> Float64s:
    tensor = tensors[name]
    if tensor.dtype not in _FLOATS or tensor.ndim != dimensions:
        raise Unusable(
            f"{name} is {tensor.dtype} of {tensor.ndim} dimensions; it must be float16, float32 or "
            f"float64 of {dimensions}"
        )
    values = tensor.astype(np.float64)
    if not np.abs(values).max(initial=0.0) <= MAX_WEIGHT:  # false for a NaN, too
        raise Unusable(
            f"{name} has values that are not finite, or above {MAX_WEIGHT:g}; check the file"
        )
    values.setflags(write=False)
    return values
