"""What docs/operations.md and the texts for operators say exists: codes, settings, links."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from deploy.dev.reference.chart.values import read
from pipeline import metrics
from pipeline.adapters.kafka.policy import Member
from pipeline.errors import CODES, Blame
from pipeline.halts import HALTS
from pipeline.metrics import Metric
from tests.rigs.root import ROOT
from workers.settings.loading import CATALOGUE
from workers.supervise.supervisor import ExitCode

CHART = read()
METRICS = [value for value in vars(metrics).values() if isinstance(value, Metric)]
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *RUNBOOKS, ROOT / "monitoring/README.md"]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def halts() -> set[str]:
    """The codes of every Halt in the source: each text in its first argument."""
    sources = [
        path
        for folder in ("pipeline", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.parent.name != "memory"
    ]
    raised = [
        call.args[0]
        for path in sources
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Halt"
    ]
    return {
        text.value
        for argument in raised
        for text in ast.walk(argument)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    }


def slugs(page: str) -> set[str]:
    """Anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@cache
def texts_of_the_source() -> frozenset[str]:
    """Every text in the source. Neighbouring literals are one, as in the log."""
    return frozenset(
        node.value
        for folder in ("pipeline", "workers")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def quoted_log_lines(page: str) -> list[str]:
    """The fixed parts of the log lines that a page quotes, without what they are about."""
    lines = re.findall(r"(?:log lines?|warning|message says(?: that the worker)?) `([^`]*)`", page)
    # Numbers, placeholders and what was left out differ from line to line.
    varying = r"\d+|…|\b[A-Z]{4,}\b|\b(?:N|T|ID|message)\b"
    parts = [part for line in lines for part in re.split(varying, line)]
    return [part for part in (each.strip(" :,()[]@|") for each in parts) if len(part) >= 8]


def name_of(setting: str) -> str:
    """What the page's table of names says that one is made of, without its marks."""
    cell: str
    (cell,) = re.findall(rf"^\| `{re.escape(setting)}` \| (.*?) \|", OPERATIONS, re.MULTILINE)
    return cell.replace("`", "")


def unknown(text: str) -> set[str]:
    """Dotted names that look like settings, by their section or last part, and are none."""
    sections = {path.partition(".")[0] for path in CATALOGUE.settings}
    last_parts = {path.rpartition(".")[2] for path in CATALOGUE.settings}
    known = {*CATALOGUE.settings, *CATALOGUE.sections, *CODES, *HALTS, *CHART}
    names = set(re.findall(r"(?<![\w./-])([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?![\w(-])", text))
    # The chart has a value `settings`, which holds all of them.
    names = {name.removeprefix("settings.") for name in names}
    return {
        name
        for name in names - known
        if not name.endswith((".py", ".md", ".yaml", ".com"))
        and not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
        and (
            name.partition(".")[0] in sections
            or ("_" in name.rpartition(".")[2] and name.rpartition(".")[2] in last_parts)
        )
    }


def test_every_halt_is_in_the_table_and_every_row_has_a_halt() -> None:
    assert halts() == HALTS.keys()


def test_codes_that_halt_and_that_a_page_names_exist() -> None:
    halting = OPERATIONS.partition("### When a worker halts")[2].partition("## Health")[0]
    stages = {code.partition(".")[0] for code in HALTS}
    named = {
        code
        for code in re.findall(r"`([a-z0-9]+\.[a-z0-9_]+)`", halting)
        if code.partition(".")[0] in stages
        and code not in {*CATALOGUE.settings, *CATALOGUE.sections}
    }
    assert named
    assert named <= HALTS.keys()


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
    remedies = [code.remedy for code in CODES.values()]
    remedies += [halt.remedy for halt in HALTS.values()]
    remedies += [metric.remedy for metric in METRICS]
    assert unknown("\n".join(remedies)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_metrics_that_a_page_names_exist(page: Path) -> None:
    # A histogram's series in PromQL has a suffix.
    text = re.sub("_seconds_(bucket|sum|count)", "_seconds", page.read_text(encoding="utf-8"))
    named = set(re.findall(r"clipstream_[a-z_]+", text))
    assert named <= {metric.name for metric in METRICS}


def test_codes_that_troubleshooting_names_exist() -> None:
    stages = {code.partition(".")[0] for code in (*CODES, *HALTS)} - {"replay"}  # and its headers
    named = {
        code
        for code in re.findall(r"`([a-z0-9]+\.[a-z0-9_]+)`", TROUBLESHOOTING)
        if code.partition(".")[0] in stages
        and code not in {*CATALOGUE.settings, *CATALOGUE.sections}
    }
    assert "fetch.forbidden" in named
    # How a worker died is in no table.
    deaths = {"encode.device_lost", "worker.died", "worker.commits_fail"}
    assert deaths <= texts_of_the_source()
    assert named <= {*CODES, *HALTS, *deaths}


def test_every_symptom_of_troubleshooting_is_in_its_index() -> None:
    symptoms = re.findall(r"^## (.*)$", TROUBLESHOOTING, re.MULTILINE)
    index = TROUBLESHOOTING.partition("\n## ")[0]
    listed = re.findall(r"\[([^]]*)\]\(#", index)
    assert sorted(listed) == sorted({*symptoms} - {"Look here first"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_log_lines_that_a_page_quotes_are_written_somewhere(page: Path) -> None:
    lines = quoted_log_lines(page.read_text(encoding="utf-8"))
    assert "stays empty" in lines or page.stem not in {"operations", "troubleshooting"}
    written = "\n".join(texts_of_the_source())
    assert [line for line in lines if line not in written] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        assert not anchor or anchor in slugs(target.read_text(encoding="utf-8")), anchor


def test_the_page_says_which_codes_count_only_while_a_bucket_cannot_be_read() -> None:
    (row,) = [line for line in OPERATIONS.splitlines() if line.startswith("| while its bucket")]
    of_objects = {code for code, entry in CODES.items() if entry.blame is Blame.OBJECT}
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", row)) == of_objects
