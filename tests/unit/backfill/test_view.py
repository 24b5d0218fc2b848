"""What a person or a program sees of a running job: a table at a terminal, else JSON lines."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys

import pytest
from rich.console import Console

from pipeline.adapters.memory.clock import HandClock
from pipeline.backfill.running.progress import InWork, Left, Progress, State
from workers.commands.backfill.driving.view import (
    MOST_CODES,
    LinesView,
    TerminalView,
    open_view,
)

EVERY_S = 10.0


def progress(rows_committed: int, **changes: object) -> Progress:
    values: dict[str, object] = {
        "at": "2026-11-30T00:00:00+00:00",
        "job": "job-1",
        "driver": "here",
        "state": State.RUNNING,
        "rows": 4000,
        "rows_committed": rows_committed,
        "shards": 40,
        "shards_committed": rows_committed // 100,
    }
    return Progress.model_validate(values | changes)


def told(lines: list[str]) -> list[int]:
    """The rows committed of each line."""
    return [json.loads(line)["progress"]["rows_committed"] for line in lines]


def test_lines_are_told_at_intervals_and_each_is_the_whole_progress() -> None:
    lines: list[str] = []
    clock = HandClock()
    view = LinesView(lines.append, EVERY_S, clock)
    for second in range(25):
        view.show(progress(100 * second, codes={"fetch.not_found": second}))
        clock.now += 1.0
    assert told(lines) == [0, 1000, 2000]
    assert Progress.model_validate(json.loads(lines[1])["progress"]) == progress(
        1000, codes={"fetch.not_found": 10}
    )


def test_the_end_of_a_job_is_told_once_however_soon_it_comes() -> None:
    lines: list[str] = []
    view = LinesView(lines.append, EVERY_S, HandClock())
    view.show(progress(3900))
    view.show(progress(4000, state=State.COMPLETE))
    view.close()
    view.close()
    assert told(lines) == [3900, 4000]


def test_a_view_that_was_shown_nothing_tells_nothing() -> None:
    lines: list[str] = []
    LinesView(lines.append, EVERY_S, HandClock()).close()
    assert lines == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_output_that_is_no_terminal_gets_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with contextlib.closing(open_view(EVERY_S, HandClock())) as view:
        view.show(progress(700))
    assert isinstance(sys.stdout, io.StringIO)
    assert told(sys.stdout.getvalue().splitlines()) == [700]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with contextlib.closing(open_view(EVERY_S, HandClock())) as view:
        assert isinstance(view, TerminalView)
        view.show(progress(700))
    assert "700 of 4,000 committed (17.5 %)" in terminal.getvalue()


def test_the_table_shows_rate_time_left_workers_failures_and_the_slowest_shards() -> None:
    file = io.StringIO()
    view = TerminalView(Console(file=file, force_terminal=True, width=120))
    codes = {f"fetch.code_{number}": 1000 - number for number in range(MOST_CODES + 2)}
    view.show(
        progress(
            1000,
            rate=1234.5,
            byte_rate=5e6,
            left=Left(soonest=3000, likely=3600, latest=7200),
            workers=3,
            places={"ready": 2, "starting": 1},
            codes=codes,
            failed=sum(codes.values()),
            rows_looked_at=90_000,
            slowest=[InWork(shard=7, worker=1, done=50, rows=100, seconds=75.0)],
        )
    )
    view.close()
    shown = file.getvalue()
    for line in (
        "1,234.5 rows/s, 5.0 MB/s",
        "1 h (50 min to 2 h)",
        "3 wanted: 2 ready, 1 starting",
        "fetch.code_0 1,000",
        "and 2 other codes",
        "50 of 100 rows in 75 s, worker 1",
    ):
        assert line in shown, line


def test_the_log_goes_above_the_table_while_it_is_shown() -> None:
    before = io.StringIO()
    handler = logging.StreamHandler(before)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        file = io.StringIO()
        view = TerminalView(Console(file=file, force_terminal=True, width=120))
        view.show(progress(700))
        root.warning("a store fails")
        view.close()
        root.warning("the job has ended")
    finally:
        root.removeHandler(handler)
    assert "a store fails" in file.getvalue()
    assert "the job has ended" not in file.getvalue()
    assert before.getvalue() == "the job has ended\n"
