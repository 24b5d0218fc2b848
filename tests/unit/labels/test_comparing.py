"""What other label sets decide is counted block by block, and is the same image by image."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt
from pipeline.labels.blocks import block_of, score_block
from pipeline.labels.comparing import DAY_S, Comparer, Comparison
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.recorded import label_set_of
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.records import JsonValue

ENCODER = MemoryEncoder(dimension=16)
IMAGES = 400


def label_set(threshold: float, *labels: str, decision: str = "independent") -> JsonValue:
    shared: dict[str, JsonValue] = {"contrast": ["a photo"]} if decision == "independent" else {}
    return {
        "name": "pets",
        "decision": decision,
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "act_action": "block",
        "review_action": "review",
        "labels": [
            {
                "name": label,
                "prompts": [f"a {label}"],
                "act_threshold": threshold,
                "review_threshold": threshold / 2,
            }
            for label in labels
        ],
        **shared,
    }


def compiled(document: JsonValue) -> CompiledLabelSet:
    parsed = parse_label_set(document)
    (found,) = compile_label_sets([parsed], ENCODER.encode_texts, ENCODER.model)
    return found


def vectors(count: int = IMAGES) -> npt.NDArray[np.float64]:
    found = np.random.default_rng(5).normal(size=(count, 16))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def compared(
    before: CompiledLabelSet, now: CompiledLabelSet, block: int, samples: int = 3
) -> Comparison[int]:
    comparer: Comparer[int] = Comparer(before.label_set, now.label_set, samples)
    all_of = vectors()
    for first in range(0, IMAGES, block):
        part = all_of[first : first + block]
        places = list(range(first, first + len(part)))
        was, after = score_block(before, part), score_block(now, part)
        comparer.add(was, after, places, np.array(places, dtype=np.float64) * 864.0)
    return comparer.result()


BEFORE = compiled(label_set(0.9, "cat", "dog"))
NOW = compiled(label_set(0.4, "dog", "owl"))
EXCLUSIVE = compiled(label_set(0.6, "cat", "owl", decision="exclusive"))
WAS, AFTER = score_block(BEFORE, vectors()), score_block(NOW, vectors())


@pytest.mark.parametrize("now", [NOW, EXCLUSIVE, BEFORE], ids=["other", "exclusive", "same"])
@pytest.mark.parametrize("block", [7, IMAGES])
def test_counts_are_those_of_single_images(now: CompiledLabelSet, block: int) -> None:
    found = compared(BEFORE, now, block)
    pairs = [(BEFORE.score(each), now.score(each)) for each in vectors()]
    assert found.images == IMAGES
    assert found.decisions == Counter((was.decision, after.decision) for was, after in pairs)
    assert found.changed == sum(was.decision != after.decision for was, after in pairs)
    for label in found.labels:
        was = [label.label in each.matched for each, _ in pairs]
        after = [label.label in each.matched for _, each in pairs]
        assert label.before in (sum(was), None)
        assert label.now in (sum(after), None)
        assert label.gained == sum(b and not a for a, b in zip(was, after, strict=True))
        assert label.lost == sum(a and not b for a, b in zip(was, after, strict=True))


def test_a_label_that_a_set_lacks_has_no_count() -> None:
    found = {each.label: each for each in compared(BEFORE, NOW, 100).labels}
    assert list(found) == ["cat", "dog", "owl"]
    assert found["cat"].now is None
    assert found["owl"].before is None
    assert found["dog"].before is not None


def test_samples_are_of_their_change_and_name_its_reasons() -> None:
    found = compared(BEFORE, NOW, 50)
    assert found.changes
    for pair, count in found.changes:
        samples = found.samples[pair]
        assert len(samples) == min(3, count)
        assert len({each.image for each in samples}) == len(samples)
        for each in samples:
            was, after = (rules.score(vectors()[each.image]) for rules in (BEFORE, NOW))
            assert (was.decision, after.decision) == pair
            assert each.now.matched == bool(after.matched)
            scores = {score.label: score.score for score in after.scores}
            assert each.now.score == pytest.approx(scores[each.now.label], abs=1e-12)


def test_samples_come_from_all_of_the_images() -> None:
    """Each image of a change is drawn as often as any other, not the first ones."""
    drawn: Counter[int] = Counter()
    for seed in range(200):
        comparer: Comparer[int] = Comparer(BEFORE.label_set, NOW.label_set, 2, seed)
        comparer.add(WAS, AFTER, list(range(IMAGES)), np.full(IMAGES, np.nan))
        result = comparer.result()
        (pair, count), *_ = result.changes
        drawn.update(each.image for each in result.samples[pair])
    middle = IMAGES // 2
    late = sum(times for image, times in drawn.items() if image >= middle)
    assert count > 20
    assert 0.3 < late / drawn.total() < 0.7


def test_the_rate_is_that_of_the_images_times() -> None:
    assert compared(BEFORE, NOW, 60).images_per_day == pytest.approx(DAY_S / 864.0)
    comparer: Comparer[int] = Comparer(BEFORE.label_set, NOW.label_set, 2)
    assert comparer.result().images_per_day is None
    comparer.add(WAS, AFTER, list(range(IMAGES)), np.full(IMAGES, np.nan))
    assert comparer.result().images_per_day is None


@pytest.mark.parametrize("compiled", [BEFORE, NOW, EXCLUSIVE], ids=["before", "now", "exclusive"])
def test_published_results_are_compared_as_scored_ones(compiled: CompiledLabelSet) -> None:
    results = [compiled.score(each) for each in vectors()]
    read, scored = block_of(compiled.label_set, results), score_block(compiled, vectors())
    assert read.scores == pytest.approx(scored.scores, abs=1e-12)
    assert read.similarities == pytest.approx(scored.similarities, abs=1e-12)
    assert (read.matched == scored.matched).all()
    assert (read.decisions == scored.decisions).all()


def test_a_raised_decision_names_no_label_as_its_reason() -> None:
    """The event's decision is another than that of its labels: only ``review_if`` does that."""
    results = [BEFORE.score(each) for each in vectors()]
    raised = [
        replace(each, decision="review", raised=("frames",)) if each.decision == "allow" else each
        for each in results
    ]
    was, after = (block_of(BEFORE.label_set, each) for each in (results, raised))
    comparer: Comparer[int] = Comparer(BEFORE.label_set, BEFORE.label_set, IMAGES)
    comparer.add(was, after, list(range(IMAGES)), np.full(IMAGES, np.nan))
    found = comparer.result()
    allowed = sum(each.decision == "allow" for each in results)
    assert found.changes == [(("allow", "review"), allowed)]
    for each in found.samples["allow", "review"]:
        assert (each.before.raised, each.now.raised) == (False, True)
        assert (each.before.label, each.before.score) == (each.now.label, each.now.score)
        assert not each.now.matched


def test_a_recorded_label_set_is_the_same_again() -> None:
    for each in (BEFORE, EXCLUSIVE):
        assert label_set_of(json.loads(each.label_set.canonical), each.version) == each.label_set


def test_an_altered_record_does_not_have_its_version() -> None:
    meaning = json.loads(BEFORE.label_set.canonical)
    meaning["default_action"] = "block"
    with pytest.raises(Halt, match="the version of what is recorded is sha256:"):
        label_set_of(meaning, BEFORE.version)


def test_a_key_of_a_later_release_is_not_ignored() -> None:
    meaning = json.loads(BEFORE.label_set.canonical) | {"shadow": True}
    later = "sha256:" + "0" * 64
    with pytest.raises(Halt, match="written by a later release"):
        label_set_of(meaning, later)
    with pytest.raises(Halt, match="not understood"):
        label_set_of(meaning | {"labels": 3}, later)
