"""Compiling label sets for a model, and scoring with known vectors."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.errors import Halt, Reject
from pipeline.labels.label_set import Decision, Label, LabelSet, ModelPin, Threshold
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import ModelIdentity, Vector
from tests.rigs.root import ROOT
from tests.rigs.stages.looked import scored

MODEL = ModelIdentity("clip", "abc", 3, 10.0, "fp32", "torch-cpu")
VECTORS = {
    "x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "y": (0.0, 1.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "long y": (0.0, 5.0, 0.0),
    "nothing": (0.0, 0.0, 0.0),
    "nan": (math.nan, 0.0, 0.0),
}


class Texts:
    """Known vectors for known prompts; remembers what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, prompts: Sequence[str]) -> Vector:
        self.calls.append(tuple(prompts))
        return np.array([VECTORS[prompt] for prompt in prompts], dtype=np.float32)


def labelled(
    *labels: Label,
    name: str = "axes",
    decision: Decision = Decision.EXCLUSIVE,
    unclassified: str = "review",
    actions: tuple[str, ...] = ("block", "review", "allow"),
    pin: ModelPin | None = None,
) -> LabelSet:
    return LabelSet(name, decision, actions, actions[-1], unclassified, labels, pin)


X = Label("x", ("x",), act=Threshold(0.5, "block"))
Y = Label("y", ("y",), act=Threshold(0.5, "block"))
NEUTRAL = Label("z", ("z",), neutral=True)
EXCLUSIVE = labelled(X, Y, NEUTRAL)
INDEPENDENT = labelled(
    Label("x", ("x",), ("y", "z"), review=Threshold(0.5, "review")),
    Label("y", ("y",), ("z",), review=Threshold(0.5, "review")),
    Label("xy", ("x", "y"), ("z",), act=Threshold(0.9, "block")),
    name="each",
    decision=Decision.INDEPENDENT,
)
ALONG_X = np.array([1, 0, 0], dtype=np.float32)


def test_exclusive_scores_are_the_softmax_of_scaled_cosines_over_all_labels() -> None:
    (result,) = scored(compile_label_sets([EXCLUSIVE], Texts(), MODEL), ["axes"], ALONG_X)

    total = math.exp(10) + 2
    assert [score.similarity for score in result.scores] == [1, 0, 0]
    assert [score.score for score in result.scores] == pytest.approx(
        [math.exp(10) / total, 1 / total, 1 / total], abs=1e-15
    )
    assert (result.matched, result.decision) == (("x",), "block")
    assert (result.label_set, result.version) == ("axes", EXCLUSIVE.version)


def test_a_neutral_label_takes_the_score_and_never_matches() -> None:
    along_z = np.array([0, 0, 1], dtype=np.float32)

    (result,) = scored(compile_label_sets([EXCLUSIVE], Texts(), MODEL), ["axes"], along_z)

    assert result.scores[2].score > 0.999
    assert (result.matched, result.decision) == ((), "allow")


def test_independent_scores_are_two_way_softmaxes_against_the_mean_of_the_contrast() -> None:
    (result,) = scored(compile_label_sets([INDEPENDENT], Texts(), MODEL), ["each"], ALONG_X)

    diagonal = 1 / math.sqrt(2)
    assert [score.similarity for score in result.scores] == pytest.approx([1, 0, diagonal])
    assert [score.score for score in result.scores] == pytest.approx(
        [1 / (1 + math.exp(-10)), 0.5, 1 / (1 + math.exp(-10 * diagonal))], abs=1e-7
    )
    assert (result.matched, result.decision) == (("x", "y", "xy"), "block")


def test_prompts_of_any_length_weigh_the_same_in_an_ensemble() -> None:
    label_set = labelled(Label("xy", ("x", "long y")), NEUTRAL)

    (compiled,) = compile_label_sets([label_set], Texts(), MODEL)

    assert compiled.label_vectors[0] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])


def test_every_prompt_is_embedded_once_in_one_call() -> None:
    texts = Texts()

    compile_label_sets([EXCLUSIVE, INDEPENDENT], texts, MODEL)

    assert texts.calls == [("x", "y", "z")]


def test_results_come_in_the_order_they_were_asked_for() -> None:
    compiled = compile_label_sets([EXCLUSIVE, INDEPENDENT], Texts(), MODEL)

    results = scored(compiled, ("each", "axes"), ALONG_X)

    assert compiled.names == {"axes", "each"}
    assert [result.label_set for result in results] == ["each", "axes"]


def test_vectors_are_public_and_cannot_be_changed() -> None:
    exclusive, independent = compile_label_sets([EXCLUSIVE, INDEPENDENT], Texts(), MODEL)

    assert exclusive.label_vectors.dtype == np.float32
    assert exclusive.label_vectors.shape == (3, 3)
    assert exclusive.contrast_rows.shape == (0,)
    assert independent.rows[independent.contrast_rows].shape == (3, 3)
    assert independent.rows[independent.contrast_rows][1].tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="read-only"):
        exclusive.rows[0, 0] = 2


def test_the_rounding_of_a_half_precision_embedding_is_part_of_the_score() -> None:
    compiled = compile_label_sets([EXCLUSIVE], Texts(), MODEL)
    published = np.array([0.57735, 0.57745, 0.57725], dtype=np.float16)

    (half,) = scored(compiled, ["axes"], published)
    (single,) = scored(compiled, ["axes"], published.astype(np.float32))

    assert half == single
    assert [score.similarity for score in half.scores] == [float(value) for value in published]


def test_an_embedding_rounded_beyond_unit_length_keeps_its_cosine_within_bounds() -> None:
    longer = np.array([np.nextafter(np.float16(1), np.float16(2)), 0, 0], dtype=np.float16)

    (result,) = scored(compile_label_sets([EXCLUSIVE], Texts(), MODEL), ["axes"], longer)

    assert result.scores[0].similarity == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_embedding_that_is_not_finite_is_rejected_and_not_called_harmless(value: float) -> None:
    compiled = compile_label_sets([EXCLUSIVE], Texts(), MODEL)

    with pytest.raises(Reject) as caught:
        scored(compiled, ["axes"], np.array([value, 0, 0], dtype=np.float32))

    assert caught.value.code == "encode.non_finite"


def test_a_label_set_that_is_not_loaded_is_rejected_and_never_defaulted() -> None:
    compiled = compile_label_sets([EXCLUSIVE], Texts(), MODEL)

    with pytest.raises(Reject) as caught:
        scored(compiled, ["axes", "gone"], ALONG_X)

    assert caught.value.code == "reference.unknown_label_set"
    assert "'gone' is not loaded (loaded: axes)" in caught.value.message


def test_another_model_than_the_pinned_one_stops_and_names_both() -> None:
    pinned = labelled(X, Y, name="pinned", pin=ModelPin("clip", "older"))

    with pytest.raises(Halt) as caught:
        compile_label_sets([EXCLUSIVE, pinned], Texts(), MODEL)

    assert caught.value.code == "label_set.pinned"
    assert "'pinned' is tuned for clip at revision older" in caught.value.message
    assert "clip at revision abc" in caught.value.message


def test_an_override_of_the_pin_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    pinned = labelled(X, Y, pin=ModelPin("other", "abc"))

    with caplog.at_level(logging.WARNING):
        compiled = compile_label_sets([pinned], Texts(), MODEL, override_pin=True)

    assert compiled.names == {"axes"}
    assert "tuned for other at revision abc" in caplog.text
    assert "override" in caplog.text


def test_the_pinned_model_starts_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    pinned = labelled(X, Y, pin=ModelPin("clip", "abc"))

    assert compile_label_sets([pinned], Texts(), MODEL).names == {"axes"}
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("label_sets", "model", "code", "message"),
    [
        ([EXCLUSIVE, EXCLUSIVE], MODEL, "label_set.duplicate", "axes"),
        ([labelled(X, Label("w", ("x", "-x")))], MODEL, "label_set.not_embeddable", "label 'w'"),
        ([labelled(X, Label("w", ("nothing",)))], MODEL, "label_set.not_embeddable", "'nothing'"),
        ([labelled(X, Label("w", ("nan",)))], MODEL, "label_set.not_embeddable", "'nan'"),
        (
            [EXCLUSIVE],
            ModelIdentity("clip", "abc", 4, 10.0, "fp32", "torch-cpu"),
            "label_set.not_embeddable",
            "(3, 3), not (3, 4)",
        ),
        *(
            (
                [EXCLUSIVE],
                ModelIdentity("clip", "abc", 3, scale, "fp32", "torch-cpu"),
                "label_set.not_embeddable",
                "logit scale",
            )
            for scale in (0.0, -1.0, 1e9, math.inf, math.nan)
        ),
    ],
)
def test_what_cannot_be_scored_with_stops_at_start_up(
    label_sets: list[LabelSet], model: ModelIdentity, code: str, message: str
) -> None:
    with pytest.raises(Halt) as caught:
        compile_label_sets(label_sets, Texts(), model)

    assert caught.value.code == code
    assert message in caught.value.message


def of_independent(*labels: Label) -> LabelSet:
    return labelled(*labels, decision=Decision.INDEPENDENT)


@pytest.mark.parametrize(
    ("label_set", "message"),
    [
        (labelled(X, Y, Label("w", ("long y",))), "cannot tell label 'w' from 'y'"),
        (labelled(X, Label("w", ("z",)), NEUTRAL), "cannot tell label 'z' from 'w'"),
        # Another order, and the same prompt in two spellings: the same mixture.
        (
            labelled(Label("v", ("x", "y")), Label("w", ("long y", "x"))),
            "cannot tell label 'w' from 'v'",
        ),
        (
            of_independent(Label("x", ("x",), ("z",)), Label("y", ("y",), ("long y",))),
            "label 'y' and its contrast are the same",
        ),
        (
            of_independent(Label("v", ("x",), ("y",)), Label("w", ("x",), ("long y",))),
            "cannot tell label 'w' from 'v'",
        ),
    ],
)
def test_labels_that_the_model_cannot_tell_apart_stop_at_start_up(
    label_set: LabelSet, message: str
) -> None:
    with pytest.raises(Halt) as caught:
        compile_label_sets([label_set], Texts(), MODEL)

    assert caught.value.code == "label_set.invalid"
    assert message in caught.value.message


@pytest.mark.parametrize(
    "label_set",
    [
        # One prompt of several is shared.
        labelled(Label("v", ("x", "y")), Label("w", ("long y", "z"))),
        # The same prompts against different contrasts have different scores.
        of_independent(Label("v", ("x",), ("y",)), Label("w", ("x",), ("z",))),
        of_independent(Label("v", ("x",), ("z",)), Label("w", ("y",), ("z",))),
    ],
)
def test_labels_that_differ_in_one_prompt_are_told_apart(label_set: LabelSet) -> None:
    assert compile_label_sets([label_set], Texts(), MODEL).names == {"axes"}


def test_an_unseen_image_calls_for_the_severest_of_its_label_sets_actions() -> None:
    harmless = labelled(X, Y, name="tags", actions=("tag", "none"), unclassified="none")
    reviewed = labelled(X, Y, name="moderation")
    blocked = labelled(X, Y, name="strict", unclassified="block")
    compiled = compile_label_sets([harmless, reviewed, blocked], Texts(), MODEL)

    assert compiled.unclassified_action(("tags",)) == "none"
    assert compiled.unclassified_action(("tags", "moderation")) == "review"
    assert compiled.unclassified_action(("moderation", "strict")) == "block"
    assert compiled.unclassified_action(("gone", "tags")) == "none"
    assert compiled.unclassified_action(("gone",)) == "review"


def test_a_label_set_that_is_tried_out_is_marked_and_decides_nothing_for_unseen_images() -> None:
    tried = replace(labelled(X, Y, NEUTRAL, name="next", unclassified="block"), shadow=True)
    compiled = compile_label_sets([EXCLUSIVE, tried], Texts(), MODEL)
    live, shadow = scored(compiled, ["axes", "next"], ALONG_X)
    assert (live.shadow, shadow.shadow) == (False, True)
    assert (shadow.scores, shadow.decision) == (live.scores, live.decision)
    assert compiled.unclassified_action(("axes", "next")) == "review"
    assert compiled.unclassified_action(("next",)) == "review"
    assert compiled.unclassified_action(()) == "review"


def scores(compiled: CompiledLabelSet, embedding: npt.NDArray[np.floating]) -> list[float]:
    return [score.score for score in compiled.score(embedding).scores]


def test_the_derivation_in_the_documentation_gives_the_published_scores() -> None:
    documentation = (ROOT / "docs" / "label-sets.md").read_text()
    code = documentation.partition("```python\n")[2].partition("```")[0]
    documented: dict[str, Any] = {}
    exec(code, documented)
    published = np.array([0.6, 0.48, 0.64], dtype=np.float16)
    exclusive, independent = compile_label_sets([EXCLUSIVE, INDEPENDENT], Texts(), MODEL)

    def vectors(prompts_of_labels: list[tuple[str, ...]]) -> Vector:
        made = [documented["label_vector"](Texts()(prompts)) for prompts in prompts_of_labels]
        return np.stack(made)

    expected = documented["exclusive"](
        published, vectors([label.prompts for label in EXCLUSIVE.labels]), MODEL.logit_scale
    )
    assert scores(exclusive, published) == pytest.approx(expected.tolist(), abs=1e-12)
    expected = documented["independent"](
        published,
        vectors([label.prompts for label in INDEPENDENT.labels]),
        vectors([label.contrast for label in INDEPENDENT.labels]),
        MODEL.logit_scale,
    )
    assert scores(independent, published) == pytest.approx(expected.tolist(), abs=1e-12)
