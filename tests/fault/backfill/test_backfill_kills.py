"""Processes of a backfill are killed twenty times; `make backfill-kills` kills three hundred."""

from __future__ import annotations

import pytest

from deploy.dev import versitygw
from tests.fault.backfill.kills import run

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

KILLS = 20


@pytest.mark.skipif(not versitygw.available(), reason=versitygw.WHAT_IT_NEEDS)
def test_whatever_is_killed_each_row_is_committed_once_and_as_in_an_undisturbed_run() -> None:
    verdict = run(KILLS, seed=7)
    assert verdict.kills >= KILLS
    assert verdict.rows > 0
    assert verdict.clean, verdict
