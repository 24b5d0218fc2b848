"""docs/architecture.md leads to what exists: its files, its names, and its answers."""

from __future__ import annotations

import re

import pytest

from tests.rigs.root import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NOT_BUILT = re.compile(r"`([\w./-]+)` \(\*new\*\)")
ANSWERS = [
    *("store", "input format", "output field", "metric", "command"),
    *("kind of worker", "halt code", "setting"),
]


def section(title: str) -> str:
    return PAGE.split(f"\n### {title}\n")[1].split("\n##")[0]


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:pipeline|workers|tests|deploy|docs)/[\w./-]*)`", PAGE))
    planned = set(NOT_BUILT.findall(PAGE))
    assert {name for name in named if not (ROOT / name).exists()} == planned


@pytest.mark.parametrize("thing", ANSWERS)
def test_an_answer_is_a_table_of_files(thing: str) -> None:
    rows = re.findall(r"^\| `([\w./-]+)`", section(f"A new {thing}"), re.MULTILINE)
    assert len(rows) >= 5
    assert any(name.startswith("tests/") for name in rows), "what tests it"


def test_a_name_of_the_path_is_in_the_module_beside_it() -> None:
    table = PAGE.split("\n## The life of an image")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([\w./]+)` \|", table, re.MULTILINE)
    assert len(rows) == 7
    for names, module in rows:
        source = (ROOT / module).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", names):
            assert f"\nclass {name}" in source, f"{name} is not in {module}"
