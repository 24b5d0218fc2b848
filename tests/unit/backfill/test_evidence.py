"""Precision, recall and flagged share by threshold, from counts that shards add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backfill.report.evidence import EvidenceTally, LabelEvidence
from pipeline.backfill.summary import BINS, MOST_UNKNOWN, Summary, Tally
from pipeline.evaluation.share import Share
from tests.rigs.workers.outcomes_of_backfills import classification

Row = tuple[float, bool, bool]
ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), max_size=60)


def bin_of(score: float) -> int:
    return min(BINS - 1, int(score * BINS))


def evidence(rows: list[Row]) -> LabelEvidence:
    tally = EvidenceTally(BINS)
    for score, true, matched in rows:
        tally.add(bin_of(score), true=true, matched=matched)
    return tally.evidence()


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # Agresti and Coull (1998), and R's prop.test(…, correct = FALSE).
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_intervals_are_those_of_wilson(hits: int, of: int, low: float, high: float) -> None:
    share = Share(hits, of)
    assert share.low == pytest.approx(low, abs=1e-4)
    assert share.high == pytest.approx(high, abs=1e-4)


def test_a_share_of_nothing_is_unknown() -> None:
    share = Share(0, 0)
    assert (share.value, share.low, share.high) == (None, None, None)


@given(of=st.integers(1, 10**9), data=st.data())
def test_an_interval_holds_its_share_and_lies_within_0_and_1(of: int, data: st.DataObject) -> None:
    share = Share(data.draw(st.integers(0, of)), of)
    assert share.low is not None
    assert share.value is not None
    assert share.high is not None
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value - 1e-12 <= share.high <= 1


@given(rows=ROWS, edge=st.integers(1, BINS - 1))
def test_a_threshold_judges_as_counting_its_rows_does(rows: list[Row], edge: int) -> None:
    verdict = evidence(rows).at(edge)
    flagged = [true for score, true, _ in rows if bin_of(score) >= edge]
    assert verdict.precision == Share(sum(flagged), len(flagged))
    assert verdict.recall == Share(sum(flagged), sum(true for _, true, _ in rows))
    assert verdict.flagged == Share(len(flagged), len(rows))
    assert verdict.threshold == edge / BINS


@given(rows=ROWS)
def test_the_label_sets_own_thresholds_are_judged_by_what_matched(rows: list[Row]) -> None:
    verdict = evidence(rows).as_decided
    matched = [true for _, true, matched in rows if matched]
    assert verdict.precision == Share(sum(matched), len(matched))
    assert verdict.flagged == Share(len(matched), len(rows))


@given(one=ROWS, other=ROWS)
def test_evidence_of_shards_adds_up_to_that_of_their_rows(one: list[Row], other: list[Row]) -> None:
    assert evidence(one) + evidence(other) == evidence(one + other)


def test_only_rows_whose_truth_is_known_are_evidence() -> None:
    tally = Tally()
    tally.add(classification({"cat": 0.9, "dog": 0.1}, matched=("cat",)), ("cat",))
    tally.add(classification({"cat": 0.7, "dog": 0.2}, matched=("cat",)), ())
    tally.add(classification({"cat": 0.8, "dog": 0.3}, matched=("cat",)), None)
    labels = tally.summary(1.0).label_sets["animals"].labels
    cat = labels["cat"].evidence
    assert cat is not None
    assert (cat.true_rows, cat.rows) == (1, 2)
    assert cat.as_decided.precision == Share(1, 2)
    dog = labels["dog"].evidence
    assert dog is not None
    assert dog.as_decided.recall == Share(0, 0)
    assert labels["cat"].matched == 3


def test_a_shard_without_truth_adds_nothing_to_the_evidence_of_another() -> None:
    with_truth, without = Tally(), Tally()
    with_truth.add(classification({"cat": 0.9}, matched=("cat",)), ("cat",))
    without.add(classification({"cat": 0.4}))
    for total in (
        with_truth.summary(1.0) + without.summary(1.0),
        without.summary(1.0) + with_truth.summary(1.0),
    ):
        label = total.label_sets["animals"].labels["cat"]
        assert sum(label.scores) == 2
        assert label.evidence is not None
        assert label.evidence.rows == 1


def test_labels_of_the_truth_that_nobody_scores_are_named_but_not_without_bound() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(classification({"cat": 0.9}), ("cat", "kat", f"free text {number}"))
    summary = tally.summary(1.0)
    assert summary.unknown_truth["kat"] == 100
    assert "cat" not in summary.unknown_truth
    assert len(summary.unknown_truth) == MOST_UNKNOWN
    assert len((summary + summary).unknown_truth) == MOST_UNKNOWN


def test_a_summary_with_evidence_is_read_as_it_was_written() -> None:
    tally = Tally()
    tally.add(classification({"cat": 0.9}, matched=("cat",)), ("cat", "kat"))
    summary = tally.summary(1.0)
    assert Summary.of_bytes(summary.as_bytes(), "x") == summary
