"""The page of faults says what is true: every fault once, tests that exist, counts that add up."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.rigs.root import ROOT

PAGE = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
FAULTS = 88

ROW = re.compile(r"^\| *(\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
MARKS = ("in part", "open", "not testable here")


def rows() -> list[tuple[int, str]]:
    """Number and last cell of each row."""
    return [(int(number), cell) for number, _, cell in ROW.findall(PAGE)]


def mark_of(cell: str) -> str:
    return next((mark for mark in MARKS if cell.startswith(f"{mark}: ")), "automated")


@cache
def defined_in(path: str) -> frozenset[str]:
    """Tests that a file defines: functions, methods, and state machines' test cases."""
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assigned = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return frozenset(
        {name for name in functions if name.startswith("test_")}
        | {name for name in assigned if name.startswith("Test")}
    )


def test_every_fault_has_one_row_in_order() -> None:
    assert [number for number, _ in rows()] == list(range(1, FAULTS + 1))
    # Every line of a table is a row, a heading or a rule: none escapes the pattern.
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    headings = [line for line in lines if line.startswith(("| No. |", "| ---"))]
    assert len(lines) - len(headings) == FAULTS


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(PAGE)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in defined_in(path)
    ]
    assert missing == []
    assert len(named) == PAGE.count("::")


def test_a_row_names_a_test_or_says_why_it_does_not() -> None:
    for number, cell in rows():
        if mark_of(cell) in ("automated", "in part"):
            assert TEST.search(cell), f"fault {number} names no test"
        else:
            assert cell.partition(": ")[2], f"fault {number} gives no reason"


def test_the_counts_of_the_introduction_are_the_tables() -> None:
    counts = Counter(mark_of(cell) for _, cell in rows())
    introduction = " ".join(PAGE.partition("\n## ")[0].split())
    assert f"lists {FAULTS} faults" in introduction
    for mark in ("automated", *MARKS):
        assert f" {counts[mark]} {mark}" in introduction
