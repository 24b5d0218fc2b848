"""What a job will take, from its plan: hours, requests, money."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.backfill.job import Job

PRICES_OF = "2026-11"
"""Month of the prices below: AWS's list for S3 Standard in us-east-1, in US dollars."""
GET_PRICE = 0.0004 / 1_000
PUT_PRICE = LIST_PRICE = 0.005 / 1_000
TRANSFER_PRICE_PER_GB = 0.02
"""Between two regions. Some regions cost more."""

_LISTED_AT_ONCE = 1_000
_PUTS_OF_A_SHARD = 3
"""Its plan, its errors, its results."""
_GB = 1e9
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job runs, and what its machines cost. ``rows_per_s`` is the rate of one worker."""

    rows_per_s: float
    workers: int
    gpus_per_worker: float
    gpu_hour_price: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Prices are in US dollars. None: not known."""

    hours: float | None
    gpu_hours: float | None
    gpu_price: float | None
    get_price: float
    list_price: float
    put_price: float
    transfer_prices: Mapping[str, float]
    """By the bucket that lies in another region than the cluster."""

    @property
    def total(self) -> float | None:
        """None if the price of the GPUs is not known."""
        if self.gpu_price is None:
            return None
        return (
            self.gpu_price
            + self.get_price
            + self.list_price
            + self.put_price
            + sum(self.transfer_prices.values())
        )


def estimate(
    job: Job, pace: Pace | None, *, listed: bool, bytes_elsewhere: Mapping[str, int]
) -> Estimate:
    """``listed``: the source is a listing. ``bytes_elsewhere`` has the bytes of each bucket that
    lies in another region than the cluster."""
    hours = gpu_hours = gpu_price = None
    objects = job.rows - (job.copies or 0)
    if pace is not None:
        hours = objects / (pace.rows_per_s * pace.workers) / _HOUR_S
        gpu_hours = hours * pace.workers * pace.gpus_per_worker
        if pace.gpu_hour_price is not None:
            gpu_price = gpu_hours * pace.gpu_hour_price
        elif not pace.gpus_per_worker:
            gpu_price = 0.0
    read = job.rows + sum(job.left_out.values())
    pages = math.ceil(job.shards / _LISTED_AT_ONCE)
    if listed:
        pages += math.ceil(read / _LISTED_AT_ONCE)
    return Estimate(
        hours,
        gpu_hours,
        gpu_price,
        (objects + job.shards) * GET_PRICE,
        pages * LIST_PRICE,
        job.shards * _PUTS_OF_A_SHARD * PUT_PRICE,
        {bucket: size / _GB * TRANSFER_PRICE_PER_GB for bucket, size in bytes_elsewhere.items()},
    )
