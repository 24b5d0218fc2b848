"""The command line: what it prints, its exit codes, and that it starts without heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

from pipeline.errors import Halt, Retry
from pipeline.halts import HALTS, is_of_input
from tests.rigs.refused_settings import BUCKETS
from workers import cli
from workers.commands import options
from workers.supervise.supervisor import ExitCode

HEAVY = ("torch", "transformers", "ray", "kafka", "boto3", "botocore", "obstore", "PIL")

pytestmark = pytest.mark.usefixtures("no_settings_around")

Invoke = Callable[..., Result]


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = f"import sys, workers.cli; print([each for each in {HEAVY} if each in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_names_every_command_and_version_is_one_line(invoke: Invoke) -> None:
    help_page = invoke("--help").output
    for command in ("demo", "stream", "doctor", "enqueue", "config", "labels"):
        assert f" {command} " in help_page
    version = invoke("--version")
    assert version.exit_code == 0
    assert version.output.startswith("clipstream ")
    assert len(version.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["", "stream", "enqueue", "labels", "labels check"])
def test_help_has_a_short_name(command: str, invoke: Invoke) -> None:
    result = invoke(*command.split(), "-h")
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", ["stream", "enqueue", "doctor", "config"])
def test_the_texts_of_help_flow(command: str, invoke: Invoke) -> None:
    lines = [line.strip() for line in invoke(command, "--help", COLUMNS="400").output.splitlines()]
    for paragraph in str(getattr(cli, command).__doc__).split("\n\n"):
        assert " ".join(paragraph.split()) in lines


def test_without_a_command_the_help_is_printed(invoke: Invoke) -> None:
    assert "Commands" in invoke().output


# -- exit codes -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("stream",), ("doctor",), ("enqueue", "s3://a")])
def test_wrong_settings_are_a_message_and_exit_code_2_before_anything_is_loaded(
    command: tuple[str, ...],
    exit_code: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, f"workers.commands.{command[0]}", None)  # no such module
    assert exit_code(*command, "--set", "kafka.grup=x") == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "settings.invalid: settings:",
        "  kafka.grup: no such setting; did you mean kafka.group? [flag kafka.grup]",
    ]


@pytest.mark.parametrize(
    ("failure", "code", "printed"),
    [
        (
            Halt("kafka.topic_missing", "kafka: no topic a"),
            3,
            "kafka.topic_missing: kafka: no topic a",
        ),
        (
            Halt("label_set.invalid", "a.yaml:1: wrong"),
            2,
            "label_set.invalid: a.yaml:1: wrong",
        ),
        (
            Halt("enqueue.invalid", "enqueue: a:1: wrong"),
            2,
            "enqueue.invalid: enqueue: a:1: wrong",
        ),
        (
            Retry("kafka.unavailable", "kafka: gone"),
            1,
            "kafka.unavailable: kafka: gone; try again later",
        ),
    ],
)
def test_an_expected_failure_is_its_code_and_message_without_a_traceback(
    failure: Exception,
    code: int,
    printed: str,
    exit_code: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("workers.commands.config.read", fail)
    assert exit_code("config") == code
    assert capsys.readouterr().err == f"{printed}\n"


def test_halts_of_what_a_command_was_given_exit_as_a_mistyped_argument_does() -> None:
    assert not is_of_input("not.in_the_table")
    assert {code for code in HALTS if is_of_input(code)} == {
        "settings.invalid",
        "settings.unreadable",
        "evaluate.invalid",
        "sample.invalid",
        "evaluate.lacks_package",
        "tune.exists",
        "tune.unwritable",
        "tune.candidates",
        "known.invalid",
        "label_set.none",
        "label_set.invalid",
        "label_set.duplicate",
        "label_set.not_embeddable",
        "label_set.pinned",
        "label_set.too_large",
        "label_set.unknown",
        "label_set.unproven",
        "label_set.another_model",
        "label_set.no_embeddings",
        "drift.invalid",
        "label_set.no_images",
        "event.unreadable",
        "enqueue.invalid",
        "enqueue.unreadable",
        "replay.invalid",
        "backfill.invalid",
        "backfill.another_source",
        "backfill.manifest_damaged",
        "backfill.manifest_invalid",
        "backfill.packages_missing",
        "backfill.no_job",
        "backfill.no_errors",
        "backfill.another_model",
        "backfill.another_rescore",
        "backfill.invalid_share",
        "backfill.no_rows",
        "backfill.too_many_shards",
        "calibrate.no_images",
        "calibrate.too_few",
        "calibrate.failed",
        "model.another_revision",
        "model.unwritable",
        "serve.no_keys",
        "keys.invalid",
        "keys.unwritable",
        "keys.no_file",
        "keys.too_many_live",
        "keys.unknown",
        "serve.port_taken",
        "serve.proxy",
        "verify.invalid",
    }


@pytest.mark.parametrize(
    "arguments",
    [("stream", "--nonsense"), ("stream", "--workers", "0"), ("enqueue",), ("nothing",)],
)
def test_wrong_arguments_are_exit_code_2(
    arguments: tuple[str, ...], exit_code: Callable[..., int]
) -> None:
    assert exit_code(*arguments) == ExitCode.USAGE


def test_set_without_a_value_says_what_to_write(invoke: Invoke) -> None:
    result = invoke("config", "--set", "kafka.group", **BUCKETS)
    assert result.exit_code == ExitCode.USAGE
    assert "write KEY=VALUE" in result.output


# -- flags ------------------------------------------------------------------------------------


def test_a_named_flag_is_over_set_which_is_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIPSTREAM_WORKERS__COUNT", "1")
    monkeypatch.setenv("CLIPSTREAM_LOG__LEVEL", "error")
    given = options.read(None, ["workers.count=2", " log.level=debug"], {"workers.count": 3})
    assert given.values == {"workers": {"count": 3}, "log": {"level": "debug"}}


def test_the_value_of_set_may_hold_equals_signs() -> None:
    assert options.read(None, ["model.name=a=b"], {}).values == {"model": {"name": "a=b"}}


def test_a_named_flag_that_is_not_given_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSTREAM_S3__ALLOWED_BUCKETS", '["images"]')
    settings = options.load(None, ["workers.count=2"], {"workers.count": None})
    assert settings.workers.count == 2
