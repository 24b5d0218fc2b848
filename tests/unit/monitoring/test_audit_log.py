"""The audit log: its lines are never lost to a level, and docs/logs.md lists its words."""

from __future__ import annotations

import getpass
import json
import logging
import re
import socket
from collections.abc import Iterator

import pytest

from tests.rigs.root import ROOT
from workers.audit import Act, note, operator
from workers.logs import LogPolicy, configure_logging


@pytest.fixture
def loggers() -> Iterator[None]:
    """Loggers as they were, after the test."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {}
    for name in (None, "clipstream.audit", "kafka", *("botocore", "boto3", "urllib3", "httpx")):
        levels[name] = logging.getLogger(name).level
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("loggers")
def test_an_audit_line_is_written_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogPolicy(format="json", level="error"), "worker-0")
    logging.getLogger("workers").info("not written")
    note(Act.REPLAYED, "key carol", "sent 2 dead letters")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found["logger"] == "clipstream.audit"
    assert found["message"] == "replayed by key carol: sent 2 dead letters"
    assert (found["act"], found["who"]) == ("replayed", "key carol")
    assert found["what"] == "sent 2 dead letters"


def test_whoever_runs_a_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator() == f"{getpass.getuser()}@{socket.gethostname()}"

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert re.fullmatch(r"uid \d+@.+", operator())


def test_the_page_lists_every_act() -> None:
    page = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    section = page.split("## The audit log")[1].split("\n## ")[0]
    _, *acts = re.findall(r"^\| `(\w+)` \| ", section, re.MULTILINE)
    assert acts == [str(act) for act in Act]
