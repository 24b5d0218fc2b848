"""The table of kafka-python's defects, and the release that it is about."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NoReturn

import kafka
import pytest

from pipeline.adapters.kafka import clients as kafka_clients
from pipeline.adapters.kafka.clients import REQUIREMENT, connect
from pipeline.errors import Halt
from tests.rigs.root import ROOT

TABLE = Path(kafka_clients.__file__).with_name("DEFECTS.md")
ROWS = {
    cells[0]: cells
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| B\d+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}
COLUMNS = 7


def numbers_in_use() -> dict[str, Path]:
    """Each number that product or tests mention, and a file that does."""
    used: dict[str, Path] = {}
    for folder in ("pipeline", "workers", "tests", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md") and path not in (TABLE, Path(__file__)):
                text = path.read_text(encoding="utf-8")
                used |= dict.fromkeys(re.findall(r"\bB\d{1,2}\b", text), path)
    return used


def test_every_number_in_use_stands_in_the_table_and_the_other_way_round() -> None:
    assert numbers_in_use().keys() == ROWS.keys()


@pytest.mark.parametrize("number", ROWS)
def test_a_row_says_everything_and_its_tests_exist(number: str) -> None:
    cells = ROWS[number]
    assert len(cells) == COLUMNS
    assert all(cells)
    upstream, tests = cells[2], re.findall(r"`(tests/\S+)::(\w+)`", cells[5])
    assert "None filed" in upstream or "https://github.com/dpkp/kafka-python/" in upstream
    assert tests
    for path, name in tests:
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("number", ROWS)
def test_the_code_that_a_row_names_exists(number: str) -> None:
    named = re.findall(r"`(security\.\w+|\w+)((?:\.\w+)*)`", ROWS[number][4])
    assert named
    for module, names in named:
        path = TABLE.parent / f"{module.replace('.', '/')}.py"
        text = path.read_text(encoding="utf-8")
        for part in names.split(".")[1:]:
            assert re.search(rf"^\s*(async )?(def|class) {part}\b|^{part}\b", text, re.MULTILINE)


def never_made(**_: object) -> NoReturn:
    raise AssertionError("the client was made")


@pytest.mark.parametrize("version", ["3.1.0", "3.1.0.dev1", "2.3.0", "3.0.11", "4.0.0", "3.10.1"])
def test_another_release_is_refused_before_it_does_anything(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "__version__", version)
    with pytest.raises(Halt, match=re.escape(f"pip install '{REQUIREMENT}'")) as refused:
        connect(never_made, {})
    assert refused.value.code == "kafka.client_version"
    assert version in refused.value.message


@pytest.mark.parametrize("version", ["3.0.12", "3.0.13", "3.0.20.post1"])
def test_later_patches_of_the_release_are_taken(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "__version__", version)
    with pytest.raises(AssertionError, match="the client was made"):
        connect(never_made, {})


def test_the_project_requires_what_the_message_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert REQUIREMENT in project["dependencies"]
