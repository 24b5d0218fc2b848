"""Which wording of a label is taken, what its interval promises, and how it is written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.label_files import with_wordings
from pipeline.adapters.yaml_lines import read_yaml
from pipeline.errors import Halt
from pipeline.evaluation.judging import Interval
from pipeline.evaluation.ranking import (
    Preference,
    average_precision,
    bootstrap_weights,
    gain,
    prefer,
)
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.templates import TEMPLATES
from pipeline.evaluation.tuning import Aim, Goal, choose
from pipeline.labels.label_set import Decision
from pipeline.labels.learnt.calibration import Platt
from pipeline.labels.parsing import parse_label_set
from workers.commands.labels.learning.calibrating import Calibrated, CalibratedLabel, Method
from workers.commands.labels.tuned import Found, Parts
from workers.commands.labels.wordings.candidates import Wording, read_wordings, reworded
from workers.commands.labels.wordings.choosing import Worded, WordedLabel

PETS = """\
name: pets
decision: exclusive
actions: [review, none]
default_action: none
act_action: review
templates: ["a photo of {}"]
labels:
  - name: dog
    phrases: [a dog, a puppy]   # both
    act_threshold: 0.5
  - name: cat
    prompts:
      - a cat
      - a kitten   # small
    phrases:
      - a tabby
    act_threshold: 0.5
  - {name: eel, phrases: [an eel], prompts: [an eel], neutral: true}
  - name: fish
"""
DOCUMENT = read_yaml(PETS).data


# -- The interval


def sample(rng: np.random.Generator, images: int, apart: tuple[float, ...]) -> tuple[Scores, Truth]:
    """Scores [ways, images] of images of which 30 % show the label. Each way tells them apart by so
    many standard deviations; what is hard about an image is hard for all."""
    truth = rng.random(images) < 0.3
    shared = rng.normal(0, 0.8, images)
    own = rng.normal(0, 0.6, (len(apart), images))
    return np.outer(apart, truth) + shared + own, truth


def test_the_difference_lies_in_its_interval_and_no_winner_is_cursed() -> None:
    """Of four candidates, the best by luck is chosen. What is said of it holds for new images."""
    apart = (1.5, 1.6, 1.6, 1.6, 1.6)
    ways, truth = sample(np.random.default_rng(1), 100_000, apart)
    precisions = [average_precision(way, truth).value or 0.0 for way in ways]
    weights = bootstrap_weights(600, 0)[:200]
    covered, too_good = 0, []
    for repetition in range(100):
        ways, truth = sample(np.random.default_rng((3, repetition)), 1_200, apart)
        found = prefer(ways, truth, np.arange(600), np.arange(600, 1_200), weights)
        true = precisions[found.best] - precisions[0]
        assert found.gain.low is not None
        assert found.gain.high is not None
        covered += found.gain.low <= true <= found.gain.high
        too_good.append(found.chosen_on[found.best] - found.chosen_on[0] - true)
    assert covered >= 90
    # The images that it was chosen on would have promised too much.
    assert np.mean(too_good) > 2 * np.std(too_good) / 10


def test_a_wording_that_is_no_better_is_hardly_ever_taken() -> None:
    weights = bootstrap_weights(400, 0)[:200]
    taken = 0
    for repetition in range(100):
        ways, truth = sample(np.random.default_rng((5, repetition)), 800, (1.5,) * 4)
        found = prefer(ways, truth, np.arange(400), np.arange(400, 800), weights)
        taken += not worded_label(found).kept_because
    assert taken <= 5


def test_a_difference_is_that_of_the_same_images() -> None:
    """Two wordings with the same scores do not differ, however few images there are."""
    (scores,), truth = sample(np.random.default_rng(2), 60, (1.0,))
    weights = bootstrap_weights(60, 0)
    assert gain(scores, scores, truth, weights) == Interval(0.0, 0.0, 0.0)
    assert average_precision(scores, truth, weights).low != average_precision(scores, truth).value
    assert gain(scores, scores, np.zeros(60, np.bool_), weights) == Interval(None, None, None)


# -- What is taken


def worded_label(found: Preference, positives: int = 100) -> WordedLabel:
    candidates = [Wording((f"{at}",), {}) for at in range(1, len(found.chosen_on))]
    return WordedLabel("dog", candidates, found, positives, positives)


NONE = Interval(0.5, 0.4, 0.6)


@pytest.mark.parametrize(
    ("best", "low", "positives", "says"),
    [
        (1, 0.01, 50, ""),
        (1, 0.0, 50, "the difference may be chance"),
        (1, -0.01, 500, "the difference may be chance"),
        (1, 0.01, 49, "fewer than 50 images of a part show it"),
        (0, 0.0, 500, "no candidate is better on the images to choose on"),
        (0, None, 0, "no image of a part shows it"),
    ],
)
def test_a_label_keeps_its_wording_unless_another_is_proven_better(
    best: int, low: float | None, positives: int, says: str
) -> None:
    found = Preference((0.5, 0.6), best, NONE, NONE, Interval(low, low, low))
    label = worded_label(found, positives)
    assert label.kept_because == says
    label_set = parse_label_set(DOCUMENT)
    assert set(Worded((label,), {}, label_set, {}).adopted) == (set() if says else {"dog"})


def test_calibrations_of_other_wordings_are_named() -> None:
    label_set = parse_label_set(DOCUMENT)
    learnt = Platt(1.0, 0.0, "sha256:" + "a" * 64)
    label_set = replace(
        label_set, labels=tuple(replace(each, calibration=learnt) for each in label_set.labels[:2])
    )
    dog = worded_label(Preference((0.5, 0.6), 1, NONE, NONE, Interval(0.1, 0.1, 0.1)))
    parts = Parts(np.arange(1), np.arange(1))

    def stale(decision: Decision, *calibrated: str, worded: bool = True) -> tuple[str, ...]:
        now: Any = SimpleNamespace(label_set=replace(label_set, decision=decision))
        found = Worded((dog,) if worded else (), {}, now.label_set, {})
        labels = tuple(CalibratedLabel(each, learnt, "", 9, 9, NONE) for each in calibrated)
        learnt_now = Calibrated(Method.PLATT, labels) if calibrated else None
        return Found(now, parts, found, calibrated=learnt_now).stale_calibrations

    assert stale(Decision.INDEPENDENT) == ("dog",)
    # A label's scores depend on the wordings of all.
    assert stale(Decision.EXCLUSIVE) == ("dog", "cat")
    assert stale(Decision.EXCLUSIVE, "dog") == ("cat",)
    assert stale(Decision.EXCLUSIVE, worded=False) == ()


def test_a_threshold_accounts_for_every_wording_that_was_compared() -> None:
    found = Preference((0.5, 0.6, 0.7), 2, NONE, NONE, NONE)
    labels = tuple(replace(worded_label(found), name=name) for name in ("dog", "cat"))
    label_set = parse_label_set(DOCUMENT)
    exclusive = Worded(labels, {}, label_set, {})
    # A label's scores depend on the wordings of all.
    assert [exclusive.tries(name) for name in ("dog", "fish")] == [9, 9]
    independent = Worded(labels, {}, replace(label_set, decision=Decision.INDEPENDENT), {})
    assert [independent.tries(name) for name in ("dog", "fish")] == [3, 1]
    goal = Goal(Aim.PRECISION, 0.95, tries=9)
    assert goal.error == pytest.approx(0.05 / 9)
    assert goal.least_evidence == 102  # 0.95 ** 102 < 0.05 / 9 < 0.95 ** 101
    scores, truth = np.linspace(0.1, 0.9, 101), np.ones(101, np.bool_)
    assert choose(goal, scores, truth) is None
    assert choose(Goal(Aim.PRECISION, 0.95), scores, truth) is not None
    assert choose(Goal(Aim.RECALL, 0.95, tries=9), scores, truth) is None
    assert choose(Goal(Aim.RECALL, 0.95), scores, truth) is not None


# -- The file of candidates


def read(tmp_path: Path, text: str) -> dict[str, list[Wording]]:
    file = tmp_path / "candidates.yaml"
    file.write_text(text)
    return {name: list(each) for name, each in read_wordings(file, DOCUMENT).items()}


def test_a_wording_is_prompts_phrases_templates_or_a_mixture(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """\
dog:
  - prompts: [one dog]
  - phrases: [a hound]
  - templates: ["my {}", "our {}"]
  - {templates: openai-imagenet-7, phrases: [hound], prompts: [one dog]}
fish:
  - templates: name
""",
    )
    assert [each.prompts for each in found["dog"][:3]] == [
        ("one dog",),
        ("a photo of a hound",),
        ("my a dog", "our a dog", "my a puppy", "our a puppy"),
    ]
    filled = [each.replace("{}", "hound") for each in TEMPLATES["openai-imagenet-7"].texts]
    assert found["dog"][3].prompts == ("one dog", *filled)
    assert str(found["dog"][3]) == "one dog (+7)"
    # The set's own templates stay those of the set; others are written out.
    assert [list(each.written) for each in found["dog"]] == [
        ["prompts"],
        ["phrases"],
        ["prompts"],
        ["prompts"],
    ]
    assert found["fish"][0].prompts == ("fish",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: is empty; write a mapping"),
        ("dogs:\n  - prompts: [a]", ":1: dogs: no label has this name; did you mean dog?"),
        ("dog: a hound", ":1: dog: is the text 'a hound'; write a list of wordings"),
        ("dog:\n  - a hound", ":2: dog[0]: is the text 'a hound'; write a mapping of prompts"),
        ("dog:\n  - phrase: [a]", ":2: dog[0].phrase: unknown key; did you mean phrases?"),
        ("dog:\n  - templates: imagenet", "imagenet'; write a list of templates, or one of openai"),
        ("dog:\n  - templates: [my dog]", "'my dog' is no template; write {} once"),
        ("dog:\n  - {templates: photo, phrases: a dog}", "phrases: is the text 'a dog'; write a"),
        ("dog:\n  - prompts: [a]\n  - prompts: ['']", ":3: dog[1].prompts[0]: is an empty text"),
        ("dog:\n  - phrases: [a photo]\n    prompts: [a]\n- ", "not read"),
        (
            "fish:\n  - phrases: [a dog, a puppy]",
            ":2: fish[0]: the model cannot tell it from 'dog'",
        ),
        ("dog:\n  - phrases: [fish]", ":2: dog[0]: the model cannot tell it from 'dog'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Halt) as refused:
        read(tmp_path, text)
    assert refused.value.code == "tune.candidates"
    assert says in refused.value.message


def test_a_head_has_no_wordings(tmp_path: Path) -> None:
    with pytest.raises(Halt, match="'pets' scores with a head, which reads no prompts") as refused:
        read_wordings(tmp_path / "candidates.yaml", {**DOCUMENT, "head": {"weights": "w"}})
    assert refused.value.code == "tune.candidates"


# -- The new label set


def test_wordings_change_where_they_stand_and_nothing_else_does() -> None:
    wordings = {
        "dog": Wording(("one dog",), {"prompts": ["one dog"]}),
        "cat": Wording(("a photo of a cat",), {"phrases": ["a cat"]}),
        "eel": Wording(("x: 'y'", "z"), {"prompts": ["x: 'y'", "z"]}),
        "fish": Wording(("a fish",), {"prompts": ["a fish"]}),
    }
    text = with_wordings(PETS, {name: each.written for name, each in wordings.items()})
    assert '    prompts: ["one dog"]   # both\n    act_threshold: 0.5\n' in text
    assert '  - name: cat\n    phrases: ["a cat"]\n    act_threshold: 0.5\n' in text
    assert '  - {name: eel, prompts: ["x: \'y\'", "z"], neutral: true}\n' in text
    label_set = parse_label_set(DOCUMENT)
    assert parse_label_set(read_yaml(text).data) == reworded(label_set, wordings)


def test_many_prompts_have_a_line_each() -> None:
    prompts = [f"a photo of {number} dogs in a park" for number in range(5)]
    text = with_wordings(PETS, {"dog": {"prompts": prompts, "phrases": ["a dog"]}})
    assert '    prompts:\n      - "a photo of 0 dogs in a park"\n      - "a photo of 1' in text
    (dog, *_) = parse_label_set(read_yaml(text).data).labels
    assert dog.prompts == (*prompts, "a photo of a dog")


def test_a_key_that_comes_first_can_be_replaced() -> None:
    text = "  - name: dog\n    phrases: [a dog, a puppy]"
    text = PETS.replace(text, "  - phrases: [a dog]\n    name: dog")
    changed = with_wordings(text, {"dog": {"prompts": ["one dog"]}})
    assert '  - prompts: ["one dog"]\n    name: dog   # both\n' in changed
