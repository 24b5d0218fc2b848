"""What label sets decide is counted by names that somebody configured, and by a bounded number."""

from __future__ import annotations

from dataclasses import replace

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.labels.counting import MAX_LABELS, count
from pipeline.metrics import IMAGE_METRICS, LABEL_DECISIONS, LABEL_MATCHES
from pipeline.records import LabelScore, LabelSetResult


def result(labels: int = 3, matched: tuple[str, ...] = (), name: str = "things") -> LabelSetResult:
    scores = tuple(LabelScore(f"label-{n}", 0.5, 0.2) for n in range(labels))
    return LabelSetResult(name, "sha256:0", scores, matched, "review")


def counted(*results: LabelSetResult) -> MemoryMeter:
    meter = MemoryMeter(IMAGE_METRICS)
    count(results, meter)
    return meter


def test_each_label_set_counts_its_decision_and_the_labels_that_matched() -> None:
    meter = counted(result(matched=("label-0", "label-2")), result(name="more"))
    assert meter.value(LABEL_DECISIONS, label_set="things", decision="review") == 1
    assert meter.value(LABEL_DECISIONS, label_set="more", decision="review") == 1
    assert meter.value(LABEL_MATCHES, label_set="things", label="label-0") == 1
    assert meter.value(LABEL_MATCHES, label_set="things", label="label-2") == 1
    assert len(meter.labels(LABEL_MATCHES)) == 2


def test_a_label_set_that_is_tried_out_counts_in_nothing() -> None:
    meter = counted(replace(result(matched=("label-0",)), shadow=True))
    assert meter.labels(LABEL_DECISIONS) == meter.labels(LABEL_MATCHES) == []


def test_an_image_that_matches_nothing_counts_as_a_decision_alone() -> None:
    meter = counted(result(), result())
    assert meter.value(LABEL_DECISIONS, label_set="things", decision="review") == 2
    assert meter.labels(LABEL_MATCHES) == []


def test_a_label_set_of_many_labels_counts_an_image_that_matches_once_under_one_name() -> None:
    meter = counted(result(MAX_LABELS + 1, ("label-0", "label-9")), result(MAX_LABELS + 1))
    assert meter.labels(LABEL_MATCHES) == [{"label_set": "things", "label": "other"}]
    assert meter.value(LABEL_MATCHES, label_set="things", label="other") == 1
    assert counted(result(MAX_LABELS, ("label-9",))).labels(LABEL_MATCHES) == [
        {"label_set": "things", "label": "label-9"}
    ]
