"""`clipstream config`: which settings it shows, where each comes from, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from pipeline.policy import Tier
from tests.rigs.refused_settings import BUCKETS
from workers.commands.config import as_text, as_yaml, effective
from workers.settings.loading import CATALOGUE, load_settings, read_settings
from workers.supervise.supervisor import ExitCode

pytestmark = pytest.mark.usefixtures("no_settings_around")

PASSWORD = {
    "CLIPSTREAM_KAFKA__SECURITY__PROTOCOL": "SASL_SSL",
    "CLIPSTREAM_KAFKA__SECURITY__SASL_MECHANISM": "PLAIN",
    "CLIPSTREAM_KAFKA__SECURITY__USERNAME": "u",
    "CLIPSTREAM_KAFKA__SECURITY__PASSWORD": "hunter2",
}

Invoke = Callable[..., Result]


def test_config_shows_every_setting_of_a_tier_with_its_origin_and_no_secret(
    invoke: Invoke, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("batch:\n  max_size: 8\nroutes:\n  - {bucket: a, skip: true}\n")
    flags = ("--tier", "expert", "-s", "log.level=error")
    result = invoke("config", "-c", str(file), *flags, **BUCKETS, **PASSWORD)
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in result.stdout.splitlines()}
    assert rows["batch.max_size"] == ["file:2", "8"]
    assert rows["routes[0]"] == ["file:4", '{"bucket": "a", "skip": true}']
    assert rows["log.level"] == ["flag", "error"]
    assert rows["s3.allowed_buckets"] == ["environment", '["images"]']
    assert rows["kafka.security.password"] == ["environment", "**********"]
    assert rows["kafka.security.key_password"] == ["default", "null"]
    assert rows["events.embeddings"] == ["default", "true"]
    assert rows["label_sets.paths"] == ["default", "[]"]
    assert "hunter2" not in result.output
    assert len(rows) == len([path for path in CATALOGUE.settings if "[]" not in path])


def test_config_has_a_short_row_for_each_store(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("stores:\n- {name: eu, allowed_buckets: [a-1]}\n- {name: lab, bad: 1}\n")
    refused = invoke("config", "-c", str(file), **BUCKETS).stdout
    file.write_text(
        "stores:\n- {name: eu, allowed_buckets: [a-1]}\n"
        "- {name: lab, allowed_buckets: [b-1], profile: lab}\n"
    )
    shown = invoke("config", "-c", str(file), **BUCKETS).stdout
    rows = [
        [" ".join(line.split()) for line in text.splitlines() if line.startswith("stores")]
        for text in (refused, shown)
    ]
    eu = 'stores[eu] file:2 {"name": "eu", "allowed_buckets": ["a-1"]}'
    assert rows == [
        [eu, 'stores[lab] file:3 {"name": "lab", "bad": 1}'],
        [eu, 'stores[lab] file:3 {"name": "lab", "allowed_buckets": ["b-1"], "profile": "lab"}'],
    ]


@pytest.mark.parametrize("tier", [None, *Tier])
def test_config_shows_settings_up_to_a_tier_and_all_that_were_set(
    tier: Tier | None, invoke: Invoke
) -> None:
    flags = ["--tier", str(tier)] if tier else []
    result = invoke("config", *flags, "-s", "breaker.failures=7", **BUCKETS)
    *lines, last = result.stdout.splitlines()
    rows = [line.split()[0] for line in [*lines, last]]
    tiers = list(Tier)[: list(Tier).index(tier or Tier.EVERYDAY) + 1]
    expected = [
        path
        for path, setting in CATALOGUE.settings.items()
        if "[]" not in path and (setting.tier in tiers or path == "breaker.failures")
    ]
    assert [row for row in rows if row != "#"] == expected
    hidden = len([path for path in CATALOGUE.settings if "[]" not in path]) - len(expected)
    assert last.startswith(f"# {hidden} more are at their defaults") or tier is Tier.EXPERT
    assert ("#" in rows) == (tier is not Tier.EXPERT)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            [],
            "decided at the start: 1 if the Ray cluster has GPUs, else 0; doctor shows it",
        ),
        (["model.device=cuda"], "1: model.device is cuda"),
        (["model.device=cpu"], "0: model.device is cpu"),
        (["workers.gpus_per_worker=0.5"], None),
    ],
)
def test_config_says_what_auto_comes_to(
    changes: list[str], note: str | None, invoke: Invoke
) -> None:
    flags = [each for change in changes for each in ("-s", change)]
    result = invoke("config", "--tier", "tuning", *flags, **BUCKETS)
    rows = {line.split()[0]: line.split(maxsplit=2)[2] for line in result.stdout.splitlines()}
    assert rows["workers.gpus_per_worker"] == (f"auto  # {note}" if note else "0.5")
    assert (
        rows["decode.processes"]
        == "null  # fitted to the worker's node; the worker logs it when it starts"
    )


def test_config_cuts_nothing_short_in_a_narrow_terminal(invoke: Invoke) -> None:
    topics = [f"topic-{number:03}" for number in range(40)]
    result = invoke("config", "-s", f"kafka.input_topics={str(topics).replace(chr(39), chr(34))}")
    (line,) = [row for row in result.stdout.splitlines() if row.startswith("kafka.input_topics")]
    assert line.endswith('"topic-039"]')


def test_config_shows_only_what_was_set(invoke: Invoke) -> None:
    result = invoke("config", "--changed", "-s", "kafka.group=live", **BUCKETS)
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "kafka.group",
        "s3.allowed_buckets",
    ]


def test_config_of_wrong_settings_shows_what_was_given_and_the_problems(
    exit_code: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("CLIPSTREAM_S3__ALLOWED_BUCKETS")
    monkeypatch.setenv("CLIPSTREAM_KAFKA__SECURITY__PASSWORD", "hunter2")
    assert exit_code("config", "--yaml", "-s", "batch.max_size=none") == ExitCode.USAGE
    printed = capsys.readouterr()
    assert "flag         none\n" in printed.out
    assert "kafka.security.password" in printed.out
    assert "hunter2" not in printed.out + printed.err
    assert [line.split(":")[0].strip() for line in printed.err.splitlines()] == [
        "settings.invalid",
        "kafka.security.password",
        "s3.allowed_buckets",
        "batch.max_size",
    ]


@pytest.mark.parametrize("changed_only", [True, False])
def test_the_settings_as_a_file_are_the_same_settings_again(
    changed_only: bool, tmp_path: Path
) -> None:
    variables = BUCKETS | {
        "CLIPSTREAM_ROUTES": '[{"headers": {"a": "b*"}, "label_sets": ["x"]}]',
        "CLIPSTREAM_DELIVERY__START": "2026-01-02T03:04:05Z",
        "CLIPSTREAM_MODEL__DIRECTORY": "/models/tiny",
        "CLIPSTREAM_LABEL_SETS__TEXT_CACHE_DIR": "null",
        "CLIPSTREAM_KAFKA__GROUP": "null",
    }
    settings = load_settings(environment=variables)
    file = tmp_path / "again.yaml"
    file.write_text(as_yaml(settings, changed_only=changed_only))
    assert load_settings(file, environment={}) == settings


def test_the_settings_as_a_file_hold_no_secret_but_where_to_set_it() -> None:
    text = as_yaml(load_settings(environment=BUCKETS | PASSWORD), changed_only=True)
    assert "hunter2" not in text
    assert text.startswith("# kafka.security.password is left out; set it with CLIPSTREAM_KAFKA__")
    assert yaml.safe_load(text)["kafka"]["security"]["username"] == "u"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("live", "live"),
        ("null", '"null"'),
        ("5", '"5"'),
        ("", '""'),
        ("a: b", '"a: b"'),
        ("two\nlines", '"two\\nlines"'),
        ("2026-99-99", '"2026-99-99"'),
        (Path("/a b"), "/a b"),
        (None, "null"),
        (True, "true"),
        (("a", "b"), '["a", "b"]'),
    ],
)
def test_values_are_shown_as_yaml_reads_them(value: object, text: str) -> None:
    assert as_text(value) == text
    assert yaml.safe_load(text) == (list(value) if isinstance(value, tuple) else value) or (
        isinstance(value, Path)
    )


@pytest.mark.parametrize("setting", ["s3.proxy_url", "s3.endpoint", "kafka.bootstrap_servers"])
def test_config_hides_users_and_passwords_in_urls(
    setting: str, exit_code: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("config", "-s", f"{setting}=http://user:hunter2@host:80") == ExitCode.USAGE
    printed = capsys.readouterr()
    assert "http://**********@host:80" in printed.out
    assert "hunter2" not in printed.out + printed.err
    assert "user" not in printed.out.partition(setting)[2].splitlines()[0]


def test_values_that_were_given_wrong_are_shown_as_they_are() -> None:
    given = read_settings(environment={"CLIPSTREAM_ROUTES": "[", "CLIPSTREAM_KAFKA": "x"})
    rows = {row.path: (row.origin, row.value) for row in effective(given, None)}
    assert rows["routes"] == ("environment", '"["')
    assert rows["kafka.group"] == ("default", "clipstream")
