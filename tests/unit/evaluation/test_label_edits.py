"""Thresholds in a person's file, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.label_files import with_thresholds
from pipeline.adapters.yaml_lines import read_yaml
from pipeline.evaluation.tuning import between
from pipeline.labels.label_set import LabelSet, ModelPin
from pipeline.labels.learnt.calibration import Calibration, Isotonic, Platt
from pipeline.labels.parsing import parse_label_set
from tests.rigs.root import ROOT

PIN = ModelPin("a: model", "sha256:1")
SETS = [*sorted((ROOT / "deploy/examples").glob("*/*.yaml")), ROOT / "workers/demo/labels.yaml"]
LABEL_SETS = [path for path in SETS if "\ndecision:" in path.read_text("utf-8")]

PETS = """\
# What people bring.
name: pets   # by its name
decision: independent
actions: [block, review, none]
default_action: none
act_action: block
review_action: review
contrast: [a photo]
labels:
  - name: "dog"     # good
    prompts: [a dog]
    act_threshold: 0.5   # a guess
  - {name: cat, prompts: [a cat], review_threshold: .2, act_threshold: 8.0e-1}
  - prompts:
      - an eel
    name: eel"""


OLD_CALIBRATION = f"""\
    calibration:
      platt:
        slope: 2
        intercept: 1   # steep
      sample: "sha256:{"cd" * 32}"
    # behind
    act_threshold: 0.5"""


def read(text: str) -> LabelSet:
    return parse_label_set(read_yaml(text).data)


def scores(label_set: LabelSet) -> dict[str, tuple[float | None, float | None]]:
    return {
        label.name: tuple(  # type: ignore[misc]
            None if threshold is None else threshold.score
            for threshold in (label.review, label.act)
        )
        for label in label_set.labels
    }


def test_thresholds_change_where_they_stand_and_are_added_where_they_are_not() -> None:
    text = with_thresholds(
        PETS,
        {
            "dog": {"act_threshold": 0.75, "review_threshold": 0.25},
            "cat": {"act_threshold": 0.9, "review_threshold": 0.00001},
            "eel": {"review_threshold": 1e-9},
        },
        PIN,
        "chosen today\non 5 images",
    )
    assert text.startswith("# chosen today\n# on 5 images\n\n# What people bring.\n")
    assert "act_threshold: 0.75   # a guess" in text
    assert '  - name: "dog"     # good\n    review_threshold: 0.25\n' in text
    assert "{name: cat, prompts: [a cat], review_threshold: 0.00001, act_threshold: 0.9}" in text
    assert scores(read(text)) == {"dog": (0.25, 0.75), "cat": (1e-5, 0.9), "eel": (1e-9, None)}
    assert read(text).model == PIN


def test_a_calibration_is_added_or_stands_in_for_the_old_one() -> None:
    sample = f"sha256:{'ab' * 32}"
    platt, curve = Platt(0.5, -1e-7, sample), Isotonic(((1e-9, 0.0), (1.0, 0.75)), sample)
    pets = PETS.replace("    act_threshold: 0.5   # a guess", OLD_CALIBRATION)
    new: dict[str, Calibration] = {"dog": curve, "cat": platt, "eel": platt}
    changed = with_thresholds(pets, {"dog": {"act_threshold": 0.75}}, PIN, "note", new)
    assert {each.name: each.calibration for each in read(changed).labels} == new
    assert "# behind" in changed
    assert scores(read(changed))["dog"] == (None, 0.75)
    again = with_thresholds(changed, {}, PIN, "note", {"cat": curve})
    assert {each.name: each.calibration for each in read(again).labels} == new | {"cat": curve}


def test_a_pin_that_stands_there_is_replaced() -> None:
    text = PETS.replace("name: pets", "name: pets\nmodel:\n  name: old  # m\n  revision: r1")
    changed = with_thresholds(text, {}, PIN, "note")
    assert read(changed).model == PIN
    assert "# m" in changed
    assert "r1" not in changed


def test_a_set_in_braces_stays_in_braces() -> None:
    text = (
        "{name: a, decision: exclusive, actions: [x, y], default_action: y, act_action: x, "
        "unclassified_action: x, labels: [{name: b, prompts: [b]}, {name: c, prompts: [c]}]}"
    )
    assert scores(read(with_thresholds(text, {"c": {"act_threshold": 0.5}}, PIN, "n"))) == {
        "b": (None, None),
        "c": (None, 0.5),
    }


@pytest.mark.parametrize("path", LABEL_SETS, ids=lambda path: path.stem)
def test_every_label_set_of_the_project_can_be_tuned(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    old = read(text)
    wanted = {
        label.name: {"act_threshold": 0.9875} for label in old.labels if label.act is not None
    }
    new = read(with_thresholds(text, wanted, PIN, "note"))
    assert {name for name, (_, act) in scores(new).items() if act == 0.9875} == wanted.keys()
    assert [label.prompts for label in new.labels] == [label.prompts for label in old.labels]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_lies_above_the_lower_score_and_not_above_the_higher(
    one: float, other: float
) -> None:
    below, score = sorted((one, other))
    if below < score:
        assert below < between(below, score) <= score


def test_a_threshold_has_as_few_decimals_as_it_can() -> None:
    assert between(0.61, 0.93) == 0.8
    assert between(0.8123, 0.8178) == 0.815
    assert between(0.0, 0.00004) == 0.00002
