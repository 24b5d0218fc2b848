"""Commands run in this process, without settings in its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from tests.rigs.refused_settings import BUCKETS
from workers import cli


@pytest.fixture
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CLIPSTREAM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Runs a command with the given variables."""

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner(env={"COLUMNS": "80"} | variables).invoke(cli.app, arguments)

    return run


@pytest.fixture
def exit_code(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of the whole program."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["clipstream", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    for name, value in BUCKETS.items():
        monkeypatch.setenv(name, value)
    return run
