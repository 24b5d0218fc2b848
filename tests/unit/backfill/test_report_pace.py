"""The rate of a job and the time of its workers, from the times of its shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backfill.report.pace import Span, busy_s, pace, worker_time

SPANS = st.lists(
    st.builds(
        lambda began, took, rows: Span(began, began + took, rows, "w"),
        st.floats(0, 1e6),
        st.floats(0, 1e5),
        st.integers(0, 100_000),
    ),
    min_size=1,
    max_size=20,
)


def test_rows_count_as_spread_over_their_shard_and_a_gap_has_none() -> None:
    rate = pace([Span(0, 40, 400, "a"), Span(20, 40, 100, "b"), Span(80, 100, 40, "a")], steps=5)
    assert rate is not None
    assert (rate.began_at, rate.step_s, rate.ended_at) == (0, 20, 100)
    assert rate.rows_per_s == pytest.approx((10, 15, 0, 0, 2))


def test_a_job_without_shards_has_no_rate() -> None:
    assert pace([]) is None


@given(spans=SPANS)
def test_the_rate_accounts_for_every_row(spans: list[Span]) -> None:
    rate = pace(spans)
    assert rate is not None
    lasting = [span for span in spans if span.ended_at - span.began_at > 1e-3]
    total = sum(rate.rows_per_s) * rate.step_s
    assert total <= sum(span.rows for span in spans) * 1.001 + 1e-3
    assert total >= sum(span.rows for span in lasting) * 0.999 - 1e-3


def test_shards_of_one_worker_at_a_time_are_its_time_once() -> None:
    spans = [Span(0, 10, 1, "a"), Span(5, 20, 1, "a"), Span(30, 40, 1, "a")]
    assert busy_s(spans) == 30


def test_workers_that_share_a_gpu_pay_for_their_part_of_it() -> None:
    spans = [Span(0, 10, 1, "a", 0.25), Span(5, 10, 1, "a", 0.25), Span(0, 20, 1, "b", 0.25)]
    time = worker_time(spans)
    assert (time.worker_s, time.gpu_s, time.workers) == (30, 7.5, 2)
