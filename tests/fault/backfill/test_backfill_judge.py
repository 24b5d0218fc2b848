"""The judge of backfills notices what must not happen."""

from __future__ import annotations

import pytest

from tests.fault.backfill.judge import Committed, Row, Rows, Verdict, judge

GOOD = Row("a.png", "keep", "5e1f", [0.6, 0.8])
BAD = Row("bad", "decode.corrupt")
EXPECTED: Rows = {(0, 0): [GOOD], (1, 0): [BAD]}


def verdict(found: Rows) -> Verdict:
    said = Verdict()
    judge(EXPECTED, found, said)
    return said


def test_the_rows_of_an_undisturbed_run_are_clean() -> None:
    said = verdict(EXPECTED)
    assert said.clean
    assert (said.rows, said.outcomes) == (2, {"keep": 1, "decode.corrupt": 1})


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({(0, 0): [GOOD]}, "missing"),
        ({(0, 0): [GOOD, GOOD], (1, 0): [BAD]}, "doubled"),
        (EXPECTED | {(2, 0): [BAD]}, "doubled"),
        (EXPECTED | {(0, 0): [GOOD._replace(key="b.png")]}, "different"),
        (EXPECTED | {(0, 0): [GOOD._replace(outcome="review")]}, "different"),
        (EXPECTED | {(0, 0): [GOOD._replace(sha256="0000")]}, "different"),
        (EXPECTED | {(0, 0): [GOOD._replace(embedding=[0.8, 0.6])]}, "different"),
        (EXPECTED | {(0, 0): [GOOD._replace(embedding=None)]}, "different"),
        (EXPECTED | {(1, 0): [BAD._replace(outcome="decode.truncated")]}, "different"),
    ],
)
def test_a_row_that_is_lost_doubled_or_changed_is_noticed(found: Rows, fault: str) -> None:
    said = verdict(found)
    faults = ("missing", "doubled", "different")
    assert {name: getattr(said, name) for name in faults} == {
        name: int(name == fault) for name in faults
    }
    assert not said.clean


def test_a_committed_file_that_is_written_again_or_deleted_is_noticed() -> None:
    committed = Committed()
    committed.look({"data/0": "one"})
    committed.look({"data/0": "one", "data/1": "two"})
    assert committed.rewritten == 0
    committed.look({"data/0": "another"})
    assert committed.rewritten == 2
