"""A label set's rates by group: whose they are, which are compared, and what is said of them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline.errors import Halt
from pipeline.evaluation.sample import LabelledImage, Sample
from pipeline.evaluation.share import Share
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import parse_label_set
from pipeline.records import ModelIdentity
from workers.commands.evaluation.embedding import Embedded
from workers.commands.evaluation.scoring import Scored
from workers.commands.labels.grouped import (
    BEST,
    FALSE_POSITIVES,
    MATCHED,
    PRECISION,
    RECALL,
    Grouped,
    LabelGroups,
    group_label_set,
)
from workers.commands.labels.grouping import columns_of, plain_groups, show_groups

MODEL = ModelIdentity("a", "b", 2, 100.0, "fp32", "torch-cpu")
EACH = 100
"""Images of each group: half of them show a dog."""


def dogs(decision: str = "independent") -> LabelSet:
    document: dict[str, Any] = {
        "name": "pets",
        "decision": decision,
        "actions": ["review", "none"],
        "default_action": "none",
        "act_action": "review",
        "labels": [
            {"name": "dog", "prompts": ["a dog"], "act_threshold": 0.5},
            {"name": "cat", "prompts": ["a cat"]},
        ],
    }
    if decision == "independent":
        document["contrast"] = ["a photo"]
    return parse_label_set(document)


def scored(label_set: LabelSet, judged: tuple[str, ...] = ("dog", "cat")) -> Scored:
    """All dogs match. Of the other images none matches by day, and half of them do by night."""
    images, scores = [], []
    for time in ("day", "night"):
        for number in range(EACH):
            dog = number % 2 == 0
            false_alarm = not dog and time == "night" and number % 4 == 1
            shown = frozenset(("dog",) if dog else ())
            name = f"{time} {number}"
            images.append(LabelledImage(name, shown, None, bytes, {"time": time}))
            scores.append((0.9, 0.1) if dog else (0.6, 0.4) if false_alarm else (0.2, 0.8))
    images.append(LabelledImage("undated", frozenset(), None, bytes))
    scores.append((0.6, 0.4))
    kept = tuple(range(len(images)))
    vectors = np.zeros((len(kept), 2), np.float32)
    sample = Sample(tuple(images), judged)
    firsts = np.arange(len(kept))
    embedded = Embedded(sample, kept, vectors, firsts, tuple(map(str, kept)), (), "d")
    found = np.array(scores)
    decisions = np.where(found[:, 0] >= 0.5, 0, 1)
    truth = sample.truth(("dog", "cat"), kept)
    return Scored(label_set, MODEL, embedded, found, truth, decisions)


def shares(label: LabelGroups, what: str) -> dict[str, Share]:
    (rate,) = [rate for rate in label.rates if rate.what == what]
    return dict(rate.shares)


def printed(grouped: Grouped) -> str:
    told = io.StringIO()
    show_groups(grouped, Console(width=100, file=told))
    return told.getvalue()


def test_each_group_has_its_rates_and_an_image_without_a_value_is_in_none() -> None:
    (grouped,) = group_label_set(scored(dogs()), ("time",))
    assert grouped.images == {"day": EACH, "night": EACH}
    assert grouped.unknown == 1
    (dog,) = grouped.labels
    assert shares(dog, MATCHED) == {"day": Share(50, 100), "night": Share(75, 100)}
    assert shares(dog, PRECISION) == {"day": Share(50, 50), "night": Share(50, 75)}
    assert shares(dog, RECALL) == {"day": Share(50, 50), "night": Share(50, 50)}
    assert shares(dog, FALSE_POSITIVES) == {"day": Share(0, 50), "night": Share(25, 50)}
    decisions = {rate.of: dict(rate.shares) for rate in grouped.decisions}
    assert decisions["review"] == {"day": Share(50, 100), "night": Share(75, 100)}
    assert decisions["none"] == {"day": Share(50, 100), "night": Share(25, 100)}


def test_the_surest_gap_comes_first() -> None:
    (grouped,) = group_label_set(scored(dogs()), ("time",))
    rate, gap = grouped.gaps[0]
    assert (rate.what, gap.low, gap.high) == (FALSE_POSITIVES, "day", "night")
    assert gap.sure
    assert [each.what for each, found in grouped.gaps if not found.sure] == [RECALL]
    told = printed(grouped)
    assert "false positives at 0.5" in told
    assert "5 of 6 rates differ between groups by more than chance" in told
    assert "in no group: 1 images" in told


def test_thresholds_by_group_would_give_each_the_rate_of_all() -> None:
    (grouped,) = group_label_set(scored(dogs()), ("time",))
    (dog,) = grouped.labels
    # Between the scores of the dogs and the next lower ones.
    assert dog.same_recall == {"day": 0.6, "night": 0.8}
    # Of all images without a dog, a quarter match. By night they are half: the threshold must be
    # above theirs. By day none match, and at a lower threshold all of them would.
    assert dog.same_false_positives == {"day": 0.6, "night": 0.8}


def test_the_best_label_of_an_exclusive_set_is_a_rate_too() -> None:
    (grouped,) = group_label_set(scored(dogs("exclusive")), ("time",))
    dog, dog_at, cat = grouped.labels
    assert shares(dog, BEST) == {"day": Share(50, 100), "night": Share(75, 100)}
    assert shares(cat, BEST) == {"day": Share(50, 100), "night": Share(25, 100)}
    assert (dog.score, dog_at.score) == (None, 0.5)


def test_of_a_label_that_is_not_judged_only_its_matches_are_known() -> None:
    (grouped,) = group_label_set(scored(dogs(), judged=()), ("time",))
    (dog,) = grouped.labels
    assert [rate.what for rate in dog.rates] == [MATCHED]
    assert dog.same_recall == {}


def test_a_group_of_few_images_is_named_and_has_its_rates() -> None:
    sample = scored(dogs())
    images = [
        replace(image, attributes={"time": "dusk"} if place < 20 else image.attributes)
        for place, image in enumerate(sample.embedded.sample.images)
    ]
    seen = replace(sample.embedded, sample=Sample(tuple(images), ("dog", "cat")))
    (grouped,) = group_label_set(replace(sample, embedded=seen), ("time",))
    assert grouped.images["dusk"] == 20
    assert grouped.few == {"dusk": 6}
    assert {gap.low for _, gap in grouped.gaps} <= {"day", "night"}
    assert "few: dusk: 6 rates are of fewer than 30 images and in no comparison" in printed(grouped)


def test_a_program_reads_every_rate_and_gap() -> None:
    (grouped,) = group_label_set(scored(dogs()), ("time",))
    found = plain_groups(grouped)
    (dog,) = found["labels"]
    rate = dog["rates"]["false_positives"]
    assert rate["groups"]["night"]["hits"] == 25
    assert rate["largest_gap"]["difference"]["value"] == 0.5
    assert found["in_no_group"] == 1


@pytest.mark.parametrize("groups", ["", "age,", "age,age", "age, age"])
def test_columns_are_named_once_each(groups: str) -> None:
    with pytest.raises(Halt, match="name each column once"):
        columns_of(groups)


def test_columns_are_divided_by_commas() -> None:
    assert columns_of("age, place of birth") == ("age", "place of birth")
    assert columns_of(None) == ()
