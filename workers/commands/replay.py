"""`clipstream replay`: send dead letters back to their input topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.replay import DeadLetterTopic, ReplayProducer, fits
from pipeline.errors import Halt
from pipeline.replay import Left, Letter, Selection, is_marker, obstacle
from workers.commands.progress import open_ended
from workers.settings.loading import Settings

LETTERS_PER_TRANSACTION = 500
BYTES_PER_TRANSACTION = 4 * 1024 * 1024


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


@dataclass
class _Found:
    """What one pass over the topic found. ``wanted`` maps a letter's id to its code and time."""

    wanted: dict[str, tuple[str, int]] = field(default_factory=dict)
    replayed: set[str] = field(default_factory=set)
    left: Counter[Left] = field(default_factory=Counter)

    def rows(self) -> dict[str, _Row]:
        rows: dict[str, _Row] = {}
        for code, timestamp_ms in self.wanted.values():
            rows.setdefault(code, _Row()).add(timestamp_ms)
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
    if not publish:
        found = _find(settings, console, selection, limit, max_replays, as_routed)
        _show(console, found)
        console.print(
            f"{len(found.wanted)} dead letters would be replayed; nothing was published. Add "
            "--publish to replay them.",
            highlight=False,
        )
        return 0
    # Created before the pass, so that no other replay can publish what the pass finds.
    with ReplayProducer(settings.kafka, settings.delivery) as producer:
        found = _find(settings, console, selection, limit, max_replays, as_routed)
        _show(console, found)
        count = _publish(settings, console, producer, found, as_routed)
    console.print(f"{count} dead letters replayed", highlight=False)
    return count


def _find(
    settings: Settings,
    console: Console,
    selection: Selection,
    limit: int | None,
    max_replays: int,
    as_routed: bool,
) -> _Found:
    kafka = settings.kafka
    with KafkaAdmin(kafka) as admin:
        cluster_id = admin.facts().cluster_id
        described = admin.topics(kafka.input_topics)
    topics = {name: len(each["partitions"]) for name, each in described.items()}
    found = _Found()
    progress = open_ended(console)
    with progress, DeadLetterTopic(kafka) as topic:
        task = progress.add_task("reading the dead letters")
        read = 0
        for records in topic.records():
            read += len(records)
            progress.update(task, description=f"{read} dead letters and markers read")
            for record in records:
                if (replayed := is_marker(record)) is not None:
                    # A marker stands after its letter, in the same partition.
                    found.replayed.add(replayed)
                    if found.wanted.pop(replayed, None) is not None:
                        found.left[Left.REPLAYED] += 1
                    continue
                letter = Letter.of(record, as_routed=as_routed)
                # With at-least-once delivery a letter may be on the topic twice.
                if letter is None or letter.id in found.replayed or not selection.wants(letter):
                    continue
                why = obstacle(letter, cluster_id, kafka.group, topics, max_replays)
                if why is None and not fits(letter, kafka):
                    why = Left.TOO_LARGE
                if why is not None:
                    found.left[why] += 1
                else:
                    found.wanted[letter.id] = (letter.code, letter.timestamp_ms)
    for surplus in list(found.wanted)[limit:] if limit is not None else ():
        del found.wanted[surplus]
    return found


def _publish(
    settings: Settings,
    console: Console,
    producer: ReplayProducer,
    found: _Found,
    as_routed: bool,
) -> int:
    """Publish the found letters, in a second pass, because they need not fit into memory."""
    count = 0
    progress = open_ended(console)
    with progress, DeadLetterTopic(settings.kafka) as topic:
        task = progress.add_task("publishing")
        for chunk in _chunks(_wanted(topic, found, as_routed)):
            producer.publish(chunk)
            count += len(chunk)
            progress.update(task, description=f"{count} of {len(found.wanted)} replayed")
    return count


def _wanted(topic: DeadLetterTopic, found: _Found, as_routed: bool) -> Iterator[Letter]:
    due = set(found.wanted)
    for records in topic.records():
        for record in records:
            letter = Letter.of(record, as_routed=as_routed)
            if letter is not None and letter.id in due:
                due.remove(letter.id)
                yield letter


def _chunks(letters: Iterator[Letter]) -> Iterator[list[Letter]]:
    chunk: list[Letter] = []
    held_bytes = 0
    for letter in letters:
        chunk.append(letter)
        held_bytes += len(letter.value)
        if len(chunk) >= LETTERS_PER_TRANSACTION or held_bytes >= BYTES_PER_TRANSACTION:
            yield chunk
            chunk, held_bytes = [], 0
    if chunk:
        yield chunk


def _show(console: Console, found: _Found) -> None:
    rows = found.rows()
    if rows:
        table = Table("code", "letters", "first", "last", box=None, pad_edge=False)
        for code, row in rows.items():
            table.add_row(code, str(row.count), _time(row.first_ms), _time(row.last_ms))
        console.print(table)
    for why, count in found.left.items():
        console.print(f"{count} left: {why}", highlight=False)


def _time(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def selected(codes: list[str], since: str | None, until: str | None, key: str | None) -> Selection:
    """The selection of the command line.

    Raises:
        Halt: ``replay.invalid``: a time is not valid.
    """
    return Selection(
        tuple(codes), _milliseconds("--since", since), _milliseconds("--until", until), key
    )


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
