"""What docs/operations.md and the texts for operators say exists: codes, settings, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.adapters.kafka_config import Member
from pipeline.errors import CODES
from pipeline.metrics import CATALOGUE as METRICS
from workers.reference import ROOT
from workers.settings import CATALOGUE
from workers.supervise import ExitCode

PAGES = sorted((ROOT / "docs").glob("*.md"))
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
OF_COMMANDS = ("calibrate.", "replay.", "settings.", "label_set.", "enqueue.")
"""Codes that end a command before a worker starts: its exit code is another."""


def halts() -> set[str]:
    """The codes of every Halt in the source."""
    sources = [
        path
        for folder in ("pipeline", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if "demo" not in path.parts and not path.name.startswith("memory")
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r'Halt\(\s*"([a-z_]+\.[a-z_]+)"', text))


def slugs(page: str) -> set[str]:
    """Anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def name_of(setting: str) -> str:
    """What the page's table of names says that one is made of, without its marks."""
    cell: str
    (cell,) = re.findall(rf"^\| `{re.escape(setting)}` \| (.*?) \|", OPERATIONS, re.MULTILINE)
    return cell.replace("`", "")


def unknown(text: str) -> set[str]:
    """Dotted names that look like settings, by their section or last part, and are none."""
    sections = {path.partition(".")[0] for path in CATALOGUE.settings}
    last_parts = {path.rpartition(".")[2] for path in CATALOGUE.settings}
    known = {*CATALOGUE.settings, *CATALOGUE.sections, *CODES, *halts()}
    names = set(re.findall(r"(?<![\w./-])([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?![\w(-])", text))
    return {
        name
        for name in names - known
        if not name.endswith((".py", ".md", ".yaml", ".com"))
        and (
            name.partition(".")[0] in sections
            or ("_" in name.rpartition(".")[2] and name.rpartition(".")[2] in last_parts)
        )
    }


def test_every_code_that_halts_a_worker_has_its_remedy() -> None:
    codes = {code for code in halts() if not code.startswith(OF_COMMANDS)}
    assert len(codes) > 20
    missing = {
        code
        for code in codes
        if f"`{code}`" not in OPERATIONS and f"`{code.partition('.')[0]}.…`" not in OPERATIONS
    }
    assert missing == set()


def test_every_code_of_the_page_exists() -> None:
    table = OPERATIONS.partition("### When a worker halts")[2].partition("## Health")[0]
    first_cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    named = {code for cell in first_cells for code in re.findall(r"`([a-z_.]+)`", cell)}
    assert named - halts() == set()


def test_every_exit_code_is_documented() -> None:
    table = OPERATIONS.partition("### Exit codes")[2].partition("###")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert documented == {*ExitCode, 1, 130}


def test_the_names_of_members_are_as_the_page_says() -> None:
    member = Member("transactional_id_prefix", "group", "instance", 0)
    assert name_of("transactional.id") == member.transactional_id.replace("/0", "/slot")
    assert name_of("group.instance.id") == member.group_instance_id.replace("-0", "-slot")


def test_the_access_rule_covers_a_members_transactional_id() -> None:
    (prefix,) = re.findall(r"--transactional-id (\S+) --resource-pattern-type prefixed", OPERATIONS)
    assert Member("P", "G", "host", 0).transactional_id.startswith(prefix)
    assert f"transactional ids prefixed `{prefix}`" in OPERATIONS
    assert not Member("PQ", "G", "host", 0).transactional_id.startswith(prefix)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    assert unknown(page.read_text(encoding="utf-8")) == set()


def test_a_setting_that_does_not_exist_is_found() -> None:
    text = "raise `worker.max_in_flight`, fetch.max_bites or `kafka.group`; see `retry.py`"
    assert unknown(text) == {"worker.max_in_flight", "fetch.max_bites"}


def test_settings_that_remedies_name_exist() -> None:
    remedies = [*(code.remedy for code in CODES.values()), *(metric.remedy for metric in METRICS)]
    assert unknown("\n".join(remedies)) == set()


def test_metrics_that_the_page_names_exist() -> None:
    named = set(re.findall(r"clipstream_[a-z_]+", OPERATIONS))
    assert named
    assert named <= {metric.name for metric in METRICS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        assert not anchor or anchor in slugs(target.read_text(encoding="utf-8")), anchor
