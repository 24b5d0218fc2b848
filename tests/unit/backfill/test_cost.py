"""What a job will take: hours from a rate, money from a list of prices."""

from __future__ import annotations

import pytest

from pipeline.backfill.cost import Pace, estimate
from pipeline.backfill.job import Job, Source

BILLION = Job(
    id="j",
    created_at="",
    clipstream_version="",
    source=Source(uri="s3://photos/", kind="listing"),
    attempt="a",
    rows=1_000_000_000,
    bytes=10**15,
    shards=10_000,
    shard_rows=100_000,
    plan_hash="",
    left_out={"folder": 1_000_000},
)


def test_a_billion_objects_cost_what_aws_lists() -> None:
    found = estimate(BILLION, None, listed=True, bytes_elsewhere={"photos": 10**15})
    assert found.get_price == pytest.approx(400.004)
    assert found.list_price == pytest.approx(5.005 + 0.00005)
    assert found.put_price == pytest.approx(0.15)
    assert found.transfer_prices == {"photos": pytest.approx(20_000)}


def test_a_manifest_is_not_listed() -> None:
    found = estimate(BILLION, None, listed=False, bytes_elsewhere={})
    assert found.list_price == pytest.approx(0.00005)


def test_hours_come_from_the_rate_of_all_workers() -> None:
    pace = Pace(rows_per_s=2_500, workers=10, gpus_per_worker=0.5, gpu_hour_price=2.0)
    found = estimate(BILLION, pace, listed=False, bytes_elsewhere={})
    hours = 1e9 / 25_000 / 3600
    assert found.hours == pytest.approx(hours)
    assert found.gpu_hours == pytest.approx(hours * 5)
    assert found.gpu_price == pytest.approx(hours * 10)
    requests = found.get_price + found.list_price + found.put_price
    assert found.total == pytest.approx(hours * 10 + requests)


def test_without_a_rate_nothing_is_guessed() -> None:
    found = estimate(BILLION, None, listed=False, bytes_elsewhere={})
    assert (found.hours, found.gpu_hours, found.gpu_price, found.total) == (None,) * 4


def test_without_a_price_of_gpus_there_is_no_total() -> None:
    found = estimate(BILLION, Pace(100, 1, 1), listed=False, bytes_elsewhere={})
    assert found.gpu_hours is not None
    assert found.total is None


def test_workers_without_gpus_cost_no_gpu_hours() -> None:
    found = estimate(BILLION, Pace(100, 1, 0), listed=False, bytes_elsewhere={})
    assert (found.gpu_hours, found.gpu_price) == (0, 0)
    assert found.total is not None
