"""Label sets whose scores are the outputs of a head: written, scored, versioned and explained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.yaml_lines import read_yaml
from pipeline.errors import Halt, Reject
from pipeline.labels.blocks import score_block
from pipeline.labels.comparing import Comparer
from pipeline.labels.explaining import explain
from pipeline.labels.label_set import LabelSet, ModelPin
from pipeline.labels.learnt.head import Head, Layer, Weights
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.recorded import label_set_of
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import ImageFacts, Looked, ModelIdentity, Vector
from tests.rigs.root import ROOT
from tests.rigs.stages.backfill_rows import unit_vectors

MODEL = ModelIdentity("clip", "abc", 8, 100.0, "fp32", "torch-cpu")
SHA256 = "ab" * 32
DOCUMENT: dict[str, Any] = {
    "name": "nsfw",
    "decision": "independent",
    "actions": ["block", "review", "allow"],
    "default_action": "allow",
    "act_action": "block",
    "review_action": "review",
    "model": {"name": "clip", "revision": "abc"},
    "head": {"weights": "nsfw.safetensors", "sha256": SHA256},
    "labels": [
        {"name": "nude", "act_threshold": 0.6, "review_threshold": 0.5},
        {"name": "gore", "act_threshold": 0.5},
    ],
}
RNG = np.random.default_rng(5)
LINEAR = Weights(((RNG.normal(size=(2, 8)), RNG.normal(size=2)),))
STACK = Weights(
    tuple(
        (RNG.normal(size=(outputs, inputs)), RNG.normal(size=outputs))
        for inputs, outputs in ((8, 6), (6, 5), (5, 3), (3, 2))
    )
)
LAYERS = [
    {"tensors": "layers.0", "activation": "relu"},
    {"tensors": "layers.2", "activation": "tanh"},
    {"tensors": "layers.4", "activation": "sigmoid"},
    {"tensors": "out"},
]
STACK_KEYS = {"layers": LAYERS, "scale": 4}


def no_prompts(prompts: object) -> Vector:
    raise AssertionError(f"a head embeds no prompts, not even {prompts}")


def label_set(weights: Weights, head: Mapping[str, Any] | None = None, **keys: Any) -> LabelSet:
    written = {**DOCUMENT, **keys, "head": {**DOCUMENT["head"], **(head or {})}}
    parsed = parse_label_set(written)
    assert parsed.head is not None
    return replace(parsed, head=replace(parsed.head, weights=weights))


def compiled(weights: Weights, head: Mapping[str, Any] | None = None, **keys: Any) -> Any:
    (found,) = compile_label_sets([label_set(weights, head, **keys)], no_prompts, MODEL)
    return found


def by_hand(vector: npt.NDArray[np.floating]) -> list[float]:
    """The outputs of ``STACK`` in plain Python."""
    values = [4 * float(each) for each in vector]
    functions: tuple[Callable[[float], float], ...] = (
        lambda x: max(x, 0.0),
        math.tanh,
        lambda x: 1 / (1 + math.exp(-x)),
        lambda x: x,
    )
    for (matrix, bias), function in zip(STACK.layers, functions, strict=True):
        values = [
            function(math.fsum(w * x for w, x in zip(row, values, strict=True)) + shift)
            for row, shift in zip(matrix.tolist(), bias.tolist(), strict=True)
        ]
    return values


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_the_scores_of_a_stack_of_layers_can_be_derived_by_hand(dtype: str) -> None:
    for embedding in unit_vectors(20, 8).astype(dtype):
        outputs = by_hand(embedding)
        expected = [1 / (1 + math.exp(-each)) for each in outputs]
        found = compiled(STACK, STACK_KEYS).score(embedding)
        assert [each.score for each in found.scores] == pytest.approx(expected, abs=1e-12)
        assert [each.similarity for each in found.scores] == [0, 0]
        total = sum(map(math.exp, outputs))
        found = compiled(STACK, STACK_KEYS, decision="exclusive").score(embedding)
        expected = [math.exp(each) / total for each in outputs]
        assert [each.score for each in found.scores] == pytest.approx(expected, abs=1e-12)
        found = compiled(STACK, {**STACK_KEYS, "range": [-1, 3]}).score(embedding)
        expected = [min(max((each + 1) / 4, 0), 1) for each in outputs]
        assert [each.score for each in found.scores] == pytest.approx(expected, abs=1e-12)


def test_thresholds_and_decisions_are_those_of_any_label_set() -> None:
    rules = compiled(LINEAR)
    decisions = set()
    for embedding in unit_vectors(200, 8).astype(np.float32):
        result = rules.score(embedding)
        nude, gore = (each.score for each in result.scores)
        severe = "block" if nude >= 0.6 or gore >= 0.5 else "review" if nude >= 0.5 else "allow"
        assert result.decision == severe
        decisions.add(severe)
    assert decisions == {"block", "review", "allow"}


@pytest.mark.parametrize("decision", ["exclusive", "independent"])
def test_an_image_alone_and_many_at_a_time_have_the_same_scores(decision: str) -> None:
    calibration = {"platt": {"slope": 2, "intercept": 1}, "sample": f"sha256:{SHA256}"}
    labels = [{**DOCUMENT["labels"][0], "calibration": calibration}, DOCUMENT["labels"][1]]
    rules = compiled(STACK, STACK_KEYS, decision=decision, labels=labels)
    embeddings = unit_vectors(50, 8).astype(np.float32)
    block = score_block(rules, embeddings)
    assert block.probabilities is not None
    for row, embedding in enumerate(embeddings):
        alone = rules.score(embedding)
        assert block.scores[row].tolist() == pytest.approx(
            [each.score for each in alone.scores], abs=1e-12
        )
        assert rules.label_set.actions[block.decisions[row]] == alone.decision
        assert block.probabilities[row, 0] == pytest.approx(alone.scores[0].probability)
    embeddings[3, 2] = np.nan
    with pytest.raises(Reject):
        score_block(rules, embeddings)
    with pytest.raises(Reject):
        rules.score(embeddings[3])


def test_heads_and_prompts_are_compared_and_loaded_together() -> None:
    encoder = MemoryEncoder(8)
    prompted = parse_label_set(
        {
            **{key: value for key, value in DOCUMENT.items() if key not in ("head", "model")},
            "name": "prompted",
            "contrast": ["a photo"],
            "labels": [{"name": "gore", "prompts": ["blood"], "act_threshold": 0.5}],
        }
    )
    head, other = compile_label_sets(
        [label_set(LINEAR, model={"name": "memory", "revision": "1"}), prompted],
        encoder.encode_texts,
        encoder.model,
    )
    comparer: Comparer[int] = Comparer(other.label_set, head.label_set, 3)
    was, now = (score_block(each, unit_vectors(100, 8)) for each in (other, head))
    comparer.add(was, now, range(100), np.full(100, np.nan))
    found = comparer.result()
    assert [each.label for each in found.labels] == ["gore", "nude"]
    assert found.changed > 0


def test_explaining_shows_the_output_and_finds_what_differs() -> None:
    rules: CompiledLabelSet = compiled(STACK, STACK_KEYS)
    embedding = unit_vectors(1, 8)[0].astype(np.float32)
    facts = ImageFacts("PNG", 10, 10, 1, 0.0)
    looked = Looked(embedding, MODEL, facts, "0" * 64, 3, "strict", "transformers")
    published = rules.judge(looked)
    found = explain(rules, no_prompts, looked, published)
    assert found.differences == ()
    assert [each.logit for each in found.labels] == pytest.approx(by_hand(embedding))
    assert all(each.prompts == () and each.contrast is None for each in found.labels)
    nude, gore = published.scores
    altered = replace(published, scores=(replace(nude, score=nude.score + 2e-6), gore))
    (difference,) = explain(rules, no_prompts, looked, altered).differences
    assert "the event's score" in difference


def test_the_version_covers_the_hash_and_not_the_name_of_the_file() -> None:
    plain = parse_label_set(DOCUMENT)
    renamed = parse_label_set({**DOCUMENT, "head": {"weights": "b.safetensors", "sha256": SHA256}})
    assert renamed.version == plain.version == label_set(LINEAR).version
    changes: list[dict[str, Any]] = [
        {"sha256": "cd" * 32},
        {"scale": 2},
        {"range": [1, 10]},
        {"layers": [{"tensors": "fc"}]},
        {"layers": [{"tensors": "fc", "activation": "relu"}]},
    ]
    others = [
        parse_label_set({**DOCUMENT, "head": {**DOCUMENT["head"], **change}}).version
        for change in changes
    ]
    assert len({plain.version, *others}) == 6


def test_a_recorded_head_is_read_back_without_its_weights() -> None:
    original = label_set(STACK, {**STACK_KEYS, "range": [1, 10]})
    meaning = json.loads(original.canonical)
    assert "weights" not in meaning["head"]
    again = label_set_of(meaning, original.version)
    assert again == original
    assert again.head == Head(
        SHA256,
        tuple(Layer(each["tensors"], each.get("activation", "none")) for each in LAYERS),
        4.0,
        (1.0, 10.0),
    )
    with pytest.raises(Halt, match="its weights are not at hand"):
        compile_label_sets([again], no_prompts, MODEL)


def test_a_head_of_another_dimension_is_refused() -> None:
    model = replace(MODEL, dimension=16)
    with pytest.raises(Halt, match="takes in 8 numbers, and an embedding of clip has 16"):
        compile_label_sets([label_set(LINEAR)], no_prompts, model)


def test_the_pin_of_a_head_is_kept() -> None:
    assert parse_label_set(DOCUMENT).model == ModelPin("clip", "abc")
    with pytest.raises(Halt) as refused:
        compile_label_sets([label_set(LINEAR)], no_prompts, replace(MODEL, revision="other"))
    assert refused.value.code == "label_set.pinned"


def test_a_head_needs_no_neutral_label() -> None:
    assert parse_label_set({**DOCUMENT, "decision": "exclusive"}).advice() == ()


def document_keys() -> set[str]:
    return {*DOCUMENT, "templates", "contrast"}


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"model": KeyError}, ("head",), "write model"),
        ({"templates": ["a {}"]}, ("templates",), "a head has none"),
        ({"contrast": ["a photo"]}, ("contrast",), "a head has none"),
        ({"labels": [{"name": "a", "prompts": ["a"]}]}, ("labels", 0, "prompts"), "reads none"),
        ({"labels": [{"name": "a", "phrases": ["a"]}]}, ("labels", 0, "phrases"), "reads none"),
        ({"head": {"sha256": SHA256}}, ("head",), "weights is missing"),
        (
            {"head": {"weights": "../a.safetensors", "sha256": SHA256}},
            ("head", "weights"),
            "beside",
        ),
        ({"head": {"weights": "model.pkl", "sha256": SHA256}}, ("head", "weights"), "beside"),
        ({"head": {"weights": "a.safetensors", "sha256": "1"}}, ("head", "sha256"), "64"),
        ({"layers": ["relu"]}, ("head", "layers"), "is no list of layers"),
        ({"layers": [{"tensors": "a", "activation": "swish"}]}, ("head", "layers"), "tanh"),
        ({"layers": [{"tensors": "a"}] * 17}, ("head", "layers"), "17 layers, more than 16"),
        ({"scale": 0}, ("head", "scale"), "above 0"),
        ({"range": [10, 1]}, ("head", "range"), "write the lowest and the highest"),
        ({"range": [1, 2, 3]}, ("head", "range"), "two numbers"),
        ({"size": 3}, ("head", "size"), "unknown key"),
    ],
)
def test_what_is_wrong_is_told_at_its_key(
    change: dict[str, Any], place: tuple[str | int, ...], says: str
) -> None:
    head = {key: value for key, value in change.items() if key not in document_keys()}
    document = {**DOCUMENT, "head": {**DOCUMENT["head"], **head}, **change}
    document = {
        key: value
        for key, value in document.items()
        if key in document_keys() and value is not KeyError
    }
    with pytest.raises(InvalidLabelSet) as refused:
        parse_label_set(document)
    told = {each.path: each.message for each in refused.value.problems}
    assert says in told[place]


def test_the_head_of_the_documentation_is_one() -> None:
    page = (ROOT / "docs/label-sets.md").read_text(encoding="utf-8")
    (text,) = (part for part in page.split("```") if part.startswith("yaml\nname: aesthetics"))
    found = parse_label_set(read_yaml(text.removeprefix("yaml\n")).data)
    assert found.head is not None
    assert [each.tensors for each in found.head.layers][::4] == ["layers.0", "layers.7"]
    # The output that the page derives from a score of 0.6.
    assert found.head.scores(np.array([6.4]), exclusive=False) == pytest.approx([0.6])


def test_a_range_is_for_independent_sets() -> None:
    head = {**DOCUMENT["head"], "range": [1, 10]}
    with pytest.raises(InvalidLabelSet, match="is for independent sets"):
        parse_label_set({**DOCUMENT, "decision": "exclusive", "head": head})
