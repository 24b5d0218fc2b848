"""Shows a person how far a job is."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from pipeline.backfill.running.progress import Left, Progress
from pipeline.ports import Clock
from workers.commands.backfill.driving.telling import View

MOST_CODES = 8


class TerminalView:
    """Implements ``telling.View``: a table that is drawn anew each time. Lines of the log scroll
    above."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()
        # The log's handler has the stream from before: its lines would break the table.
        self._handlers = [
            (handler, handler.setStream(sys.stderr))
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler)
        ]

    def show(self, progress: Progress) -> None:
        self._live.update(table(progress), refresh=True)

    def close(self) -> None:
        self._live.stop()
        for handler, stream in self._handlers:
            if stream is not None:
                handler.setStream(stream)


class LinesView:
    """Implements ``telling.View``: a JSON object a line, every ``every_s``, and the last one."""

    def __init__(self, tell: Callable[[str], object], every_s: float, clock: Clock) -> None:
        self._tell = tell
        self._every_s = every_s
        self._clock = clock
        self._told_at: float | None = None
        self._untold: Progress | None = None

    def show(self, progress: Progress) -> None:
        now = self._clock.monotonic()
        self._untold = progress
        if self._told_at is None or now - self._told_at >= self._every_s:
            self._told_at = now
            self._tell_it()

    def close(self) -> None:
        """A job's end is told however soon it comes."""
        self._tell_it()

    def _tell_it(self) -> None:
        if self._untold is not None:
            self._tell(json.dumps({"progress": self._untold.model_dump(mode="json")}))
            self._untold = None


def open_view(every_s: float, clock: Clock) -> View:
    console = Console()
    if console.is_terminal:
        return TerminalView(console)
    return LinesView(lambda line: print(line, flush=True), every_s, clock)


def table(progress: Progress) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("", ProgressBar(max(1, progress.rows), progress.rows_committed, width=60))
    for label, value in told(progress):
        grid.add_row(label, value)
    return grid


def told(progress: Progress) -> Iterator[tuple[str, str]]:
    """Labels and values, for a table or for lines."""
    yield "state", f"{progress.state}{f': {progress.reason}' if progress.reason else ''}"
    percent = 100 * progress.rows_committed / max(1, progress.rows)
    yield "rows", f"{progress.rows_committed:,} of {progress.rows:,} committed ({percent:.1f} %)"
    shards = f"{progress.shards_committed:,} of {progress.shards:,}"
    yield "shards", f"{shards}, {progress.shards_in_work} in work"
    yield "rate", f"{progress.rate:,.1f} rows/s, {progress.byte_rate / 1e6:,.1f} MB/s"
    if progress.left is not None:
        yield "left", left_in_words(progress.left)
    places = ", ".join(f"{count} {state}" for state, count in progress.places.items())
    yield "workers", f"{progress.workers} wanted{f': {places}' if places else ''}"
    if progress.given_back:
        yield "given back", f"{progress.given_back} places, to the stream"
    codes = [f"{code} {count:,}" for code, count in progress.codes.items()]
    more = f", and {len(codes) - MOST_CODES} other codes" if len(codes) > MOST_CODES else ""
    yield "failed", f"{progress.failed:,} of {progress.rows_looked_at:,} since the driver began"
    if codes:
        yield "by code", ", ".join(codes[:MOST_CODES]) + more
    for each in progress.slowest:
        rows = f"{each.done:,} of {each.rows:,} rows in {duration(each.seconds)}"
        yield f"shard {each.shard}", f"{rows}, worker {each.worker}"
    if progress.set_aside:
        yield "set aside", ", ".join(map(str, progress.set_aside)) + " (they killed their process)"
    used = progress.used
    cost = f", cost {used.cost:,.2f}" if used.cost else ""
    yield "used", f"{used.hours:.2f} hours, {used.worker_hours:.2f} worker hours{cost}"


def left_in_words(left: Left) -> str:
    return f"{duration(left.likely)} ({duration(left.soonest)} to {duration(left.latest)})"


def duration(seconds: float) -> str:
    """Two units at most: `2 d 3 h`, `3 h 12 min`, `12 min`, `45 s`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
