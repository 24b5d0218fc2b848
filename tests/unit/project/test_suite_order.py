"""`make test`: which group starts next, beside which others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.dev.suite.groups import Group
from deploy.dev.suite.running import may_start, next_to_start

QUIET, OTHER = Group("quiet", "x"), Group("other", "x")
LOUD = Group("loud", "x", alone=True)
BACKGROUND = Group("background", "x", background=True)
SUM, PRODUCT = (Group(name, "x", computes=True) for name in ("sum", "product"))


@pytest.mark.parametrize(
    ("group", "running", "may"),
    [
        (QUIET, [], True),
        (QUIET, [OTHER], True),
        (QUIET, [OTHER, OTHER], False),
        (QUIET, [LOUD], False),
        (LOUD, [], True),
        (LOUD, [QUIET], False),
        (LOUD, [LOUD], False),
        (BACKGROUND, [LOUD], True),
        (BACKGROUND, [QUIET, OTHER], True),
        (LOUD, [BACKGROUND], True),
        (QUIET, [BACKGROUND, OTHER], True),
        (QUIET, [BACKGROUND, OTHER, QUIET], False),
    ],
)
def test_a_group_starts_where_there_is_room_and_quiet(
    group: Group, running: list[Group], may: bool
) -> None:
    assert may_start(group, running, jobs=2) is may


@pytest.mark.parametrize(
    ("waiting", "running", "started"),
    [
        ([LOUD, QUIET, SUM, PRODUCT], [], LOUD),
        ([LOUD, QUIET, SUM, PRODUCT], [LOUD], replace(SUM, background=True)),
        ([LOUD, SUM], [QUIET], replace(SUM, background=True)),
        ([QUIET, SUM], [LOUD], replace(SUM, background=True)),
        ([LOUD, PRODUCT], [LOUD, replace(SUM, background=True)], None),
        ([LOUD, PRODUCT], [SUM], None),
        ([LOUD, SUM], [LOUD, BACKGROUND], None),
        ([LOUD, QUIET], [LOUD], None),
        ([SUM], [QUIET, OTHER], None),
        ([SUM], [QUIET], SUM),
        ([], [LOUD], None),
    ],
)
def test_one_group_that_computes_runs_in_the_background_of_one_that_runs_alone(
    waiting: list[Group], running: list[Group], started: Group | None
) -> None:
    left = [group for group in waiting if started is None or group.name != started.name]
    assert next_to_start(waiting, running, jobs=2) == started
    assert waiting == left
