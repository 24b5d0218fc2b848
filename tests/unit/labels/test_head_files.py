"""Weights from files: those that fit, those that do not, and files that change under a worker."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from pipeline.adapters import head_files
from pipeline.adapters.head_files import linear_weights
from pipeline.adapters.label_files import fingerprint, load_sourced
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import STREAM_WORKER
from pipeline.records import ModelIdentity
from tests.rigs.stages.backfill_rows import unit_vectors
from workers.commands.labels.finding import whole
from workers.label_sets import LiveRules, ScoringRules

MODEL = ModelIdentity("clip", "abc", 8, 100.0, "fp32", "torch-cpu")
LABELS = ["a", "b"]
MATRIX = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
LINEAR = {"weight": MATRIX, "bias": np.zeros(2, np.float32)}


def write(
    folder: Path, body: bytes, extra: str = "", named: bytes | None = None, labels: Any = LABELS
) -> Path:
    """A label set, and ``body`` as the file of its weights. The set names ``named``."""
    digest = hashlib.sha256(body if named is None else named).hexdigest()
    file = folder / "head.yaml"
    file.write_text(
        "name: scored\ndecision: independent\nactions: [review, none]\ndefault_action: none\n"
        "review_action: review\nmodel: {name: clip, revision: abc}\n"
        f"head:\n  weights: head.safetensors\n  sha256: '{digest}'\n{extra}"
        f"labels:\n" + "".join(f"  - {{name: {each}, review_threshold: 0.5}}\n" for each in labels)
    )
    (folder / "head.safetensors").write_bytes(body)
    return file


def problem(file: Path) -> str:
    with pytest.raises(Halt) as refused:
        load_sourced([file])
    assert refused.value.code == "label_set.invalid"
    assert refused.value.message.startswith(f"{file}:8: head.weights: ")
    return refused.value.message


def scores(file: Path) -> npt.NDArray[np.float64]:
    (each,) = load_sourced([file])
    (rules,) = compile_label_sets([each.label_set], lambda prompts: MATRIX, MODEL)
    return np.array([[s.score for s in rules.score(v).scores] for v in unit_vectors(5, 8)])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_linear_head_is_read(tmp_path: Path, dtype: str) -> None:
    matrix = MATRIX.astype(dtype)
    found = scores(write(tmp_path, save({"weight": matrix})))  # without a bias, too
    logits = unit_vectors(5, 8).astype(np.float64) @ matrix.astype(np.float64).T
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-12)


def test_a_published_stack_of_layers_scores_as_torch_does(tmp_path: Path) -> None:
    """The form of LAION's aesthetic predictor: linear layers with dropout between them, which does
    nothing here, and one output from 1 to 10."""
    torch.manual_seed(2)
    sizes = (8, 16, 12, 4, 1)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1]).double().eval()
    body = save_torch({f"layers.{name}": each for name, each in network.state_dict().items()})
    written = "".join(
        f"    - {{tensors: layers.{at}, activation: {activation}}}\n"
        for at, activation in ((0, "relu"), (2, "relu"), (4, "relu"), (6, "none"))
    )
    extra = f"  layers:\n{written}  range: [-1, 1]\n  scale: 10\n"
    found = scores(write(tmp_path, body, extra, labels=["aesthetic"]))
    vectors = torch.from_numpy(unit_vectors(5, 8).astype(np.float64))
    expected = (network(10 * vectors).detach().numpy() + 1) / 2
    assert 0 < expected.min() < expected.max() < 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_file_that_training_writes_is_read(tmp_path: Path) -> None:
    body = linear_weights(MATRIX.astype(np.float64), np.array([1.0, -2.0]))
    (each,) = load_sourced([write(tmp_path, body)])
    assert each.weights == body
    assert each.label_set.head is not None
    weights = each.label_set.head.weights
    assert weights is not None
    ((matrix, bias),) = weights.layers
    assert bias.tolist() == [1, -2]
    np.testing.assert_array_equal(matrix, MATRIX)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no safetensors file"),
        (pickle.dumps(LINEAR), "no safetensors file"),
        (save(LINEAR)[:-1], "no safetensors file"),
        (save_torch({"weight": torch.zeros(2, 8).bfloat16()}), "float16, float32 or float64"),
        (save({"weight": np.zeros((2, 8), np.int64)}), "weight is int64 of 2 dimensions"),
        (save({"weight": np.zeros(8, np.float32)}), "of 1 dimensions"),
        (save({**LINEAR, "bias": np.zeros(3, np.float32)}), "bias has 3 numbers for 2 outputs"),
        (save({"weight": np.full((2, 8), np.nan, np.float32)}), "not finite"),
        (save({"weight": np.full((2, 8), 1e7, np.float32)}), "above 1e+06"),
        (save({"weight": np.zeros((3, 8), np.float32)}), "3 outputs for 2 labels"),
        (save({"fc.weight": MATRIX}), "no tensor weight (its tensors: fc.weight)"),
        (save({**LINEAR, "scale": np.ones(1, np.float32)}), "no layer uses the tensors scale"),
    ],
)
def test_weights_that_cannot_be_used_are_told(tmp_path: Path, body: bytes, says: str) -> None:
    assert says in problem(write(tmp_path, body))


def test_layers_that_do_not_follow_each_other_are_told(tmp_path: Path) -> None:
    body = save(
        {"a.weight": np.zeros((4, 8), np.float32), "b.weight": np.zeros((2, 5), np.float32)}
    )
    extra = "  layers: [{tensors: a, activation: relu}, {tensors: b}]\n"
    assert "b.weight has the shape [2, 5], and takes in 4 numbers" in problem(
        write(tmp_path, body, extra)
    )


def test_a_file_that_is_too_large_or_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, save(LINEAR))
    monkeypatch.setattr(head_files, "MAX_WEIGHTS_BYTES", 100)
    assert "more than 100 bytes" in problem(file)
    (tmp_path / "head.safetensors").unlink()
    assert "No such file" in problem(file)


def test_a_reload_waits_for_both_files(tmp_path: Path) -> None:
    old, new = save(LINEAR), save({"weight": MATRIX + 1})
    file = write(tmp_path, old)
    meter = MemoryMeter(STREAM_WORKER)

    def load() -> ScoringRules:
        sourced = load_sourced([file])
        sets = [each.label_set for each in sourced]
        compiled = compile_label_sets(sets, lambda prompts: MATRIX, MODEL)
        return ScoringRules(compiled, {each.name: each.version for each in sets})

    live = LiveRules(load, lambda: fingerprint([file]), meter)
    first = live().versions["scored"]
    # The label set is there, and half of its weights.
    write(tmp_path, new[:-8], named=new)
    live.look()
    live.look()
    assert live().versions["scored"] == first
    # Nothing but the weights changes now.
    (tmp_path / "head.safetensors").write_bytes(new)
    live.look()
    assert live().versions["scored"] == first
    live.look()
    assert live().versions["scored"] != first


def test_recorded_weights_make_a_recorded_label_set_whole(tmp_path: Path) -> None:
    (each,) = load_sourced([write(tmp_path, save(LINEAR))])
    assert each.weights is not None
    value: Any = {
        "version": each.label_set.version,
        "meaning": json.loads(each.label_set.canonical),
        "weights": base64.b64encode(each.weights).decode(),
    }
    again = whole(value)
    assert again.head is not None
    assert again.head.weights is not None
    np.testing.assert_array_equal(again.head.weights.layers[0][0], MATRIX)
    del value["weights"]
    without = whole(value)
    assert without.head is not None
    assert without.head.weights is None
    value["weights"] = base64.b64encode(save({"weight": MATRIX + 1})).decode()
    with pytest.raises(Halt, match="recorded weights cannot be used"):
        whole(value)
