"""The alert rules in promtool: their tests pass, fail for wrong rules, and texts have no holes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev.monitoring import promtool
from deploy.dev.monitoring.rules import MONITORING, default_rules, defaults, rules_file, scaled

pytestmark = pytest.mark.component

TESTS = sorted((MONITORING / "tests").glob("*.yaml"))


@pytest.fixture(scope="module")
def binary() -> Path:
    if not promtool.available():
        pytest.skip(promtool.WHAT_IT_NEEDS)
    return promtool.program("promtool")


def run(binary: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [binary, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def cases_of(file: Path) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
    return loaded


def alert_of(test: dict[str, Any]) -> str:
    return str(test["name"]).split()[0]


@pytest.mark.parametrize("divisor", [1, 60])
def test_prometheus_accepts_the_rules(binary: Path, tmp_path: Path, divisor: int) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules_file(scaled(defaults(), divisor)))
    code, said = run(binary, "check", "rules", "--lint=all", "--lint-fatal", file)
    assert code == 0, said


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_each_alert_fires_and_is_silent_as_its_tests_say(binary: Path, file: Path) -> None:
    code, said = run(binary, "test", "rules", file)
    assert code == 0, said


@pytest.mark.parametrize(("expression", "verb"), [("vector(0) == 1", "fires"), ("vector(1)", "is")])
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_tests_notice_alerts_that_never_fire_and_that_always_do(
    binary: Path, tmp_path: Path, file: Path, expression: str, verb: str
) -> None:
    """Nothing of a test file can pass with the wrong rules."""
    rules = yaml.safe_load(default_rules())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "alert" in rule:
            rule["expr"] = expression
            rule.pop("for", None)
    (tmp_path / "clipstream.rules.yaml").write_text(yaml.safe_dump(rules))
    tests = [test for test in cases_of(file) if test["name"].split()[1] == verb]
    copy = tmp_path / "tests" / file.name
    copy.parent.mkdir()
    copy.write_text(yaml.safe_dump({"rule_files": ["../clipstream.rules.yaml"], "tests": tests}))
    _, said = run(binary, "test", "rules", copy)
    noticed = set(re.findall(r'expr: "ALERTS\{alertname=\\"(\w+)\\"', said))
    assert noticed == {alert_of(test) for test in tests}


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_texts_of_a_firing_alert_have_no_holes(
    binary: Path, tmp_path: Path, file: Path
) -> None:
    """promtool prints what it did not expect: the alerts with their texts."""
    tests = [test for test in cases_of(file) if test["name"].split()[1] == "fires"]
    for test in tests:
        firing = [it for it in test.pop("promql_expr_test") if it["exp_samples"]]
        test["alert_rule_test"] = [
            {"eval_time": it["eval_time"], "alertname": alert_of(test), "exp_alerts": []}
            for it in firing
        ]
    copy = tmp_path / "texts.yaml"
    (tmp_path / "clipstream.rules.yaml").write_text(default_rules())
    copy.write_text(yaml.safe_dump({"rule_files": ["clipstream.rules.yaml"], "tests": tests}))
    _, said = run(binary, "test", "rules", copy)
    summaries = re.findall(r'summary="((?:[^"\\]|\\.)*)"', said)
    assert len(summaries) >= len(tests)
    for summary in summaries:
        assert "<" not in summary, "a template that fails is told in the text"
        assert "{{" not in summary
        # A label that is not there leaves a gap.
        assert not re.search(r"  | [.,]", summary), summary
