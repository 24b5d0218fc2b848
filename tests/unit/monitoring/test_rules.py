"""The alert and recording rules ask for what exists; each alert has tests and a runbook."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import yaml

from deploy.dev.monitoring.__main__ import main
from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.expressions import functions, selections
from deploy.dev.monitoring.rules import (
    MONITORING,
    Rule,
    defaults,
    placeholders,
    rendered,
    rules_of,
    scaled,
    templates,
)
from pipeline import metrics
from tests.rigs.root import ROOT
from tests.rigs.series import ALERTS, RECORDED, RULES, complaints

NAMES = sorted({alert.name for alert in ALERTS})


@cache
def promtool_tests() -> Sequence[dict[str, Any]]:
    return [
        test
        for file in sorted((MONITORING / "tests").glob("*.yaml"))
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
    ]


def expectations(alert: str, verb: str) -> list[dict[str, Any]]:
    """What the tests of an alert expect whose name says that it fires, or that it is silent."""
    found: list[dict[str, Any]] = [
        expected
        for test in promtool_tests()
        if test["name"].startswith(f"{alert} {verb} ")
        for expected in test["promql_expr_test"]
        if f'alertname="{alert}"' in expected["expr"]
    ]
    return found


# -- what rules ask for ---------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_asks_for_and_groups_by_what_exists(rule: Rule) -> None:
    assert complaints(rule.expr) == []


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("rate(clipstream_commit_total[5m])", "clipstream_commit_total: no such series"),
        ("clipstream_queue_depth{code='a'}", "clipstream_queue_depth: no label ['code']"),
        ("clipstream_breaker_open_bucket", "clipstream_breaker_open_bucket: no such series"),
        ("sum(a:b{le='1'} offset 5m) > 0", "a:b: no such series"),
        ("clipstream:lag_records{worker='0'}", "clipstream:lag_records: no label ['worker']"),
        ("sum by (group) (clipstream_driver_workers)", "no series has the label ['group']"),
        ("up * on (route) group_left () up", "no series has the label ['route']"),
    ],
)
def test_a_rule_that_asks_for_something_else_is_found(expression: str, told: str) -> None:
    assert complaints(expression) == [told]


def test_histograms_are_asked_in_the_way_that_prometheus_2_and_3_share() -> None:
    bounds = {f"{bound:g}" for bound in metrics.LATENCY_SECONDS.buckets}
    asked = {
        bound
        for rule in RULES
        for bound in re.findall(r'le=~"([^"]*)"', rule.expr)
        if "end_to_end" in rule.expr
    }
    assert asked
    # As a process writes a bound, and as Prometheus 3 does.
    assert {bound.removesuffix("([.]0)?") for bound in asked} <= bounds
    assert all(bound.endswith("([.]0)?") for bound in asked)
    assert not any('le="' in rule.expr for rule in RULES)
    new = {"histogram_count", "histogram_sum", "histogram_fraction", "histogram_avg"}
    assert not any(functions(rule.expr) & new for rule in RULES)


def test_recorded_series_are_told_from_exposed_ones() -> None:
    assert all(name.startswith("clipstream:") for name in RECORDED)
    used = {it.series for rule in RULES for it in selections(rule.expr)}
    assert used >= RECORDED.keys(), "a recorded series that no rule uses is work for nothing"


# -- what an alert brings along -------------------------------------------------------------------


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule.name)
def test_an_alert_says_what_a_person_needs(alert: Rule) -> None:
    assert alert.labels["severity"] in {"page", "ticket"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert alert.annotations["summary"].endswith(".")
    assert "irst " in alert.annotations["description"], "what to do first"
    assert alert.annotations["runbook_url"] == f"docs/runbooks/{alert.name}.md"
    uid, _, query = alert.annotations["dashboard_url"].partition("/d/")[2].partition("?")
    (board,) = [each for each in BOARDS if each.uid == uid]
    given = {chosen.partition("=")[0].removeprefix("var-") for chosen in query.split("&")}
    assert given <= {*board.variables}, "a link chooses what its dashboard can be narrowed to"


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent(name: str) -> None:
    assert any(expected["exp_samples"] for expected in expectations(name, "fires"))
    silent = expectations(name, "is silent")
    assert silent
    assert not any(expected["exp_samples"] for expected in silent)


def test_every_promtool_test_belongs_to_an_alert() -> None:
    starts = tuple(f"{name} {verb} " for name in NAMES for verb in ("fires", "is silent"))
    assert [it["name"] for it in promtool_tests() if not it["name"].startswith(starts)] == []


SECTIONS = (
    "What it means",
    "Confirm",
    "Do first",
    "Do not",
    "Escalate",
)


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_runbook(name: str) -> None:
    page = (ROOT / "docs/runbooks" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    assert tuple(re.findall(r"^## (.*)$", page, re.MULTILINE)) == SECTIONS
    confirm = page.partition("## Confirm")[2].partition("## Do first")[0]
    assert "```" in confirm, "a command"
    assert "Good:" in confirm
    assert "```" in confirm.partition("Bad:")[2], "what the command prints then"


def test_the_index_lists_each_runbook_with_the_severities_of_its_alert() -> None:
    page = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([a-z, ]+) \|", page, re.MULTILINE))
    severities: dict[str, set[str]] = {}
    for alert in ALERTS:
        severities.setdefault(alert.name, set()).add(alert.labels["severity"])
    assert listed == {name: ", ".join(sorted(each)) for name, each in severities.items()}
    pages = {page.stem for page in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
    assert pages == set(NAMES)


# -- parameters -----------------------------------------------------------------------------------


def test_every_parameter_is_used_and_every_placeholder_has_one() -> None:
    used = frozenset().union(*map(placeholders, templates().values()))
    assert used == set(defaults())


def test_every_parameter_has_a_comment() -> None:
    lines = (MONITORING / "parameters.yaml").read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"\w+:", line) and (not before.startswith("# ") or before.startswith("# --"))
    ]
    assert bare == []


def test_times_are_whole_seconds_so_that_helm_and_python_write_the_same() -> None:
    for name, value in defaults().items():
        assert isinstance(value, str) or (value < 1_000_000 and float(f"{value:g}") == value)
        assert not name.endswith("_s") or isinstance(value, int), name


def test_a_trial_takes_a_sixtieth_of_the_time_and_no_rule_less_than_a_second() -> None:
    usual, fast = defaults(), scaled(defaults(), 60)
    assert fast["no_progress_s"] == 5
    assert fast["latency_ticket_long_s"] == 360
    # What is no time of a rule stays: bounds of histograms, shares, counts, texts.
    same = {name for name in usual if fast[name] == usual[name]}
    assert same >= {"latency_objective_s", "http_latency_s", "latency_target", "worker_deaths"}
    assert min(v for k, v in scaled(usual, 100_000).items() if k.endswith("_s")) == 1
    for text in templates().values():
        for rule in rules_of(rendered(text, fast)):
            assert [*selections(rule.expr)]


def test_a_template_with_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(KeyError, match="windw_s"):
        rendered("up[${windw_s}s]", defaults())


def test_a_selector_bounds_every_series_of_every_rule() -> None:
    bounded = {**defaults(), "selector": 'namespace="images",'}
    for text in templates().values():
        for rule in rules_of(rendered(text, bounded)):
            for selection in selections(rule.expr):
                assert selection.series in RECORDED or "namespace" in selection.labels


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_the_rules_for_parameters_of_ones_own(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("backlog_s: 7200\nrunbooks_url: https://wiki.example.com/clipstream\n")
    assert main(["--parameters", str(file)]) == 0
    text = capsys.readouterr().out
    assert "clipstream:backlog_seconds > 7200" in text
    urls = [rule.annotations["runbook_url"] for rule in rules_of(text) if rule.is_alert]
    assert "https://wiki.example.com/clipstream/ClipstreamLagGrowing.md" in urls
    assert main(["--faster", "60"]) == 0
    assert "clipstream:backlog_seconds > 15" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["backlog: 7200", "- 1", "backlog_s: [1]"])
def test_the_command_refuses_parameters_that_no_rule_has(
    text: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert main(["--parameters", str(file)]) == 2
    said = capsys.readouterr()
    assert str(file) in said.err
    assert said.out == ""
