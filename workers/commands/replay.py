"""`clipstream replay`: send dead letters back to their input topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from pipeline.adapters.kafka.replay import ReplayProducer, find
from pipeline.adapters.kafka.replay import publish as publish_found
from pipeline.errors import Halt
from pipeline.replay import Found, Search, Selection
from workers.audit import Act, note, operator
from workers.commands.progress import open_ended
from workers.settings.loading import Settings


@dataclass
class _Row:
    """The letters of one code."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, timestamp_ms: int) -> None:
        self.first_ms = min(self.first_ms, timestamp_ms) if self.count else timestamp_ms
        self.last_ms = max(self.last_ms, timestamp_ms)
        self.count += 1


def _rows(found: Found) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for due in found.due.values():
        rows.setdefault(due.code, _Row()).add(due.timestamp_ms)
    return dict(sorted(rows.items(), key=lambda pair: -pair[1].count))


def run_replay(
    settings: Settings,
    console: Console,
    *,
    selection: Selection,
    publish: bool,
    limit: int | None,
    max_replays: int,
    as_routed: bool = False,
) -> int:
    """Show what would be replayed; with ``publish``, replay it. Returns the number of letters.

    ``as_routed`` concerns letters that do not say what their sender asked for: see ``Letter``.

    Raises:
        Halt: not allowed, or another replay of the group runs.
        Retry: the broker does not answer. Letters that were published are marked and are not sent
            again.
    """
    search = Search(selection, limit, max_replays, as_routed)
    if not publish:
        found = _find(settings, console, search)
        _show(console, found)
        console.print(
            f"{len(found.due)} dead letters would be replayed; nothing was published. Add "
            "--publish to replay them.",
            highlight=False,
        )
        return 0
    # Created before the pass, so that no other replay can publish what the pass finds.
    with ReplayProducer(settings.kafka, settings.delivery) as producer:
        found = _find(settings, console, search)
        _show(console, found)
        who, said = operator(), f"of group {settings.kafka.group}: {selection}, limit {limit}"
        note(Act.REPLAYED, who, f"begins {said}")
        count = _publish(settings, console, producer, found, as_routed)
        note(Act.REPLAYED, who, f"sent {count} dead letters {said}")
    console.print(f"{count} dead letters replayed", highlight=False)
    return count


def _find(settings: Settings, console: Console, search: Search) -> Found:
    with open_ended(console) as progress:
        task = progress.add_task("reading the dead letters")

        def told(read: int) -> None:
            progress.update(task, description=f"{read} dead letters and markers read")

        return find(settings.kafka, search, told)


def _publish(
    settings: Settings, console: Console, producer: ReplayProducer, found: Found, as_routed: bool
) -> int:
    with open_ended(console) as progress:
        task = progress.add_task("publishing")

        def told(count: int) -> None:
            progress.update(task, description=f"{count} of {len(found.due)} replayed")

        return publish_found(settings.kafka, producer, found, as_routed=as_routed, told=told)


def _show(console: Console, found: Found) -> None:
    rows = _rows(found)
    if rows:
        table = Table("code", "letters", "first", "last", box=None, pad_edge=False)
        for code, row in rows.items():
            table.add_row(code, str(row.count), _time(row.first_ms), _time(row.last_ms))
        console.print(table)
    for why, count in found.left.items():
        console.print(f"{count} left: {why}", highlight=False)


def _time(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def selected(
    codes: list[str], since: str | None, until: str | None, key: str | None, *, everything: bool
) -> Selection:
    """The selection of the command line.

    Raises:
        Halt: ``replay.invalid``: a time is not valid, or nothing or too much is selected.
    """
    selection = Selection(
        tuple(codes), _milliseconds("--since", since), _milliseconds("--until", until), key
    )
    if selection.everything != everything:
        raise Halt(
            "replay.invalid",
            "replay: --all and other selections exclude each other; leave --all out"
            if everything
            else "replay: say which letters: --code, --since, --until or --key, or --all",
        )
    return selection


def _milliseconds(option: str, time: str | None) -> int | None:
    if time is None:
        return None
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise Halt(
            "replay.invalid",
            f"replay: {option} {time} is not a time; write it as 2026-01-31T18:00:00Z",
        ) from error
    if moment.tzinfo is None:
        raise Halt("replay.invalid", f"replay: {option} {time} has no zone; write it as {time}Z")
    return round(moment.timestamp() * 1000)
