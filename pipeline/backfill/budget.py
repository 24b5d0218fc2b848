"""How many rows may fail: of a shard before it is committed, and of a job as a whole."""

from __future__ import annotations

from pipeline.backfill.summary import Summary
from pipeline.errors import Halt

LEAST_FAILURES = 100
"""Fewer failed rows never halt a job."""


def too_many_failures(
    counts: Summary, max_failed_share: float, whose: str, example: str | None = None
) -> Halt | None:
    """The halt if more rows failed than may: ``backfill.too_many_failures``. ``whose`` says in
    words which rows ``counts`` are of. ``example`` is what a row of the most frequent code says."""
    bound = max_failed_share * (counts.rows - counts.skipped)
    if counts.failed <= max(bound, LEAST_FAILURES):
        return None
    told = most_frequent_code(counts) + (f" ({example})" if example else "")
    return Halt(
        "backfill.too_many_failures",
        f"backfill: {counts.failed} of {counts.rows} rows of {whose} failed, most of them with "
        f"{told}, and backfill.max_failed_share is {max_failed_share:g}; mend the cause, or raise "
        "it",
    )


def most_frequent_code(counts: Summary) -> str:
    return max(counts.codes, key=lambda each: counts.codes[each], default="no code")
