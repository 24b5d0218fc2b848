"""Shows Prometheus how far a job is."""

from __future__ import annotations

import math

from pipeline.backfill.running.progress import Progress
from pipeline.metrics import BACKFILL_GIVEN_BACK, BACKFILL_SECONDS_LEFT, BACKFILL_SHARDS
from pipeline.ports import Meter


class JobGauges:
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def follow(self, progress: Progress) -> None:
        aside = len(progress.set_aside)
        shards = {
            "committed": progress.shards_committed,
            "in_work": progress.shards_in_work,
            "set_aside": aside,
            "waiting": max(
                0,
                progress.shards - progress.shards_committed - progress.shards_in_work - aside,
            ),
        }
        for state, count in shards.items():
            self._meter.set(BACKFILL_SHARDS, count, state=state)
        left_s = progress.left.likely if progress.left else math.nan
        self._meter.set(BACKFILL_SECONDS_LEFT, left_s)
        self._meter.set(BACKFILL_GIVEN_BACK, progress.given_back)
