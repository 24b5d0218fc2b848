"""`clipstream backfill erase`: what the command refuses, and what it says."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.errors import Halt
from pipeline.ports import StoredFile
from tests.rigs.stages.backfill_job import bodies, compiled, label_set, write_job
from workers.commands.backfill import lease
from workers.commands.backfill.revising import erase
from workers.settings.loading import Settings

SCORING = compiled(label_set("animals", 0.4), label_set("things", 0.5, "car"))
RESULT, FAILURE = "2024/0-003.jpg", "2024/1-019.jpg"


def test_the_command_refuses_while_a_driver_renews_its_lease(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Driven(MemoryFolder):
        renewals = 0

        def read(self, name: str) -> StoredFile | None:
            found = super().read(name)
            if name == layout.LEASE and found is not None:
                self.renewals += 1
                return StoredFile(found.body, f"{found.etag}-{self.renewals}")
            return found

        def close(self) -> None: ...

    folder = Driven()
    write_job(folder, SCORING)
    assert lease.take_lease(folder, SystemClock(), lambda seconds: False) is not None
    monkeypatch.setattr(erase, "open_output", lambda settings, place: folder)
    monkeypatch.setattr(erase, "probed", lambda settings, place: place)
    monkeypatch.setattr(lease, "LEASE_S", 0.0)
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{RESULT}\n")
    before = bodies(folder)
    with pytest.raises(Halt) as refused:
        erase.run_erase(Settings(), "s3://derived/2024", keys, Console(file=io.StringIO()))
    assert refused.value.code == "backfill.second_driver"
    assert bodies(folder) == before


def test_the_command_says_what_it_did_also_to_the_audit_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "clipstream.audit")
    folder = MemoryFolder()
    write_job(folder, SCORING, shards=3)
    monkeypatch.setattr(erase, "open_output", lambda settings, place: folder)
    monkeypatch.setattr(erase, "probed", lambda settings, place: place)
    keys = tmp_path / "keys.txt"
    keys.write_text(f"s3://photos/{RESULT}\n{FAILURE}\n")
    told = io.StringIO()
    erase.run_erase(Settings(), "s3://derived/2024", keys, Console(file=told))
    assert "2 rows of 2 named objects erased: 1 results, 1 failures" in told.getvalue()
    found = folder.read(layout.LEASE)
    assert found is not None
    assert json.loads(found.body)["ended"] is True
    (line,) = [each for each in caplog.messages if each.startswith("erased by ")]
    assert line.endswith(": 2 rows of 2 named objects in s3://derived/2024")
