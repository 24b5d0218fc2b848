"""How many rows may fail."""

from __future__ import annotations

import pytest

from pipeline.backfill.budget import LEAST_FAILURES, too_many_failures
from pipeline.backfill.summary import Summary


def counts(rows: int, failed: int, skipped: int = 0) -> Summary:
    codes = {"decode.truncated": failed // 3, "fetch.not_found": failed - failed // 3}
    return Summary(
        rows=rows,
        classified=rows - failed - skipped,
        failed=failed,
        skipped=skipped,
        codes=codes if failed else {},
    )


@pytest.mark.parametrize(
    ("found", "share", "halts"),
    [
        (counts(0, 0), 0.0, False),
        (counts(LEAST_FAILURES, LEAST_FAILURES), 0.0, False),
        (counts(LEAST_FAILURES + 1, LEAST_FAILURES + 1), 0.5, True),
        (counts(1000, 500), 0.5, False),
        (counts(1000, 501), 0.5, True),
        (counts(1000, 201, skipped=600), 0.5, True),
        (counts(1000, 200, skipped=600), 0.5, False),
        (counts(1000, 1000), 1.0, False),
    ],
)
def test_more_failures_than_the_share_and_the_least_number_halt(
    found: Summary, share: float, halts: bool
) -> None:
    assert (too_many_failures(found, share, "the job") is not None) is halts


def test_the_halt_names_whose_rows_failed_and_the_most_frequent_code() -> None:
    halt = too_many_failures(counts(400, 300), 0.5, "shard 7", "no such object")
    assert halt is not None
    assert halt.code == "backfill.too_many_failures"
    assert "300 of 400 rows of shard 7 failed" in halt.message
    assert "fetch.not_found (no such object)" in halt.message
