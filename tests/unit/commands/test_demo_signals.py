"""A demo that is asked to end by a signal leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.rigs.root import ROOT
from workers import cli
from workers.demo import run
from workers.embedded.signals import orderly_end

# What the demo is made of: a temporary folder, and in it a child that is stopped first.
PROGRAM = """
import signal, sys, tempfile, time
from contextlib import ExitStack
from pathlib import Path
from workers.embedded.processes import ChildProcess
from workers.embedded.signals import orderly_end

# Whoever runs the tests may have them ignore it, as nohup does.
signal.signal(int(sys.argv[2]), signal.SIG_DFL)
with orderly_end(), ExitStack() as owned:
    folder = Path(owned.enter_context(tempfile.TemporaryDirectory(dir=sys.argv[1])))
    child = ChildProcess(
        "child", [sys.executable, "-c", "import time; time.sleep(60)"],
        log=folder / "log", environment={},
    )
    owned.callback(lambda: print("stopped", child.running, folder.exists(), flush=True))
    owned.callback(child.stop)
    child.start()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_children_are_stopped_and_then_the_folder_goes(
    number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(int(number))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "stopped False True\n"
        assert process.wait(timeout=30) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_the_demos_exit_code_names_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []

    def signalled(*_: object) -> bool:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a second one does not end the cleaning up
            cleaned.append(True)
        return True

    monkeypatch.setattr(run, "run_demo", signalled)
    before = signal.getsignal(signal.SIGTERM)
    # Where nothing handles the signal it must not end the tests.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = CliRunner().invoke(cli.app, ["demo"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 128 + signal.SIGTERM
    assert cleaned == [True]


def test_an_ignored_signal_stays_ignored_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_end():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not before[1]
        assert signal.getsignal(signal.SIGTERM) is before[1]
    finally:
        signal.signal(signal.SIGHUP, before[0])
