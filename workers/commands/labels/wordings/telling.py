"""Shows which wordings were compared, and which labels the model hardly tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from pipeline.evaluation.judging import Interval
from pipeline.labels.label_set import Decision, LabelSet
from pipeline.labels.scoring import EncodeTexts
from pipeline.labels.wording.prompts import alike_labels
from workers.commands.evaluation.telling import percent, table_of_labels
from workers.commands.labels.tuned import Found
from workers.commands.labels.wordings.choosing import Worded, WordedLabel

SHOWN_ALIKE = 10


def points(gain: Interval) -> str:
    """A difference of two shares in percentage points, with its interval."""
    if gain.value is None or gain.low is None or gain.high is None:
        return "[dim]-[/]"
    bounds = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    return f"{100 * gain.value:+.1f} [dim]{bounds}[/]"


def show_wordings(worded: Worded, found: Found, console: Console) -> None:
    """``worded`` is that of what was ``found``."""
    table = table_of_labels("wording", "chosen on", "held out", "difference")
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    for label in worded.labels:
        for row in _rows(label):
            table.add_row(*row)
    if worded.labels:
        console.print(table)
        console.print("[dim]average precision in per cent, with 95 % intervals[/]")
    for label in worded.labels:
        if label.kept_because:
            console.print(
                f"[yellow]kept:[/] {escape(label.name)}: keep what you have: {label.kept_because}",
                soft_wrap=True,
            )
    for name, gain in worded.gains.items():
        if gain.high is not None and gain.high < 0:
            told = f"{escape(name)} ranks worse with the new wordings of others: {points(gain)}"
            console.print(f"[yellow]worse:[/] {told}", soft_wrap=True)
    for name, why in worded.skipped.items():
        console.print(f"[dim]left out: {escape(name)}: {why}[/]", soft_wrap=True)
    if worded.adopted and found.tuned is None:
        exclusive = worded.label_set.decision is Decision.EXCLUSIVE
        of = "all labels" if exclusive else ", ".join(map(escape, worded.adopted))
        console.print(
            f"[yellow]thresholds:[/] those of {of} were chosen for other scores; add --precision, "
            "--recall or --cost",
            soft_wrap=True,
        )
    if found.stale_calibrations:
        of = ", ".join(map(escape, found.stale_calibrations))
        console.print(
            f"[yellow]calibrations:[/] those of {of} were learnt from other scores; add "
            "--calibrate, or remove them",
            soft_wrap=True,
        )


def _rows(label: WordedLabel) -> list[tuple[str, ...]]:
    found = label.found
    names = ["now", *(f"{at}: {escape(str(each))}" for at, each in enumerate(label.candidates, 1))]
    rows: list[tuple[str, ...]] = []
    for way, (name, precision) in enumerate(zip(names, found.chosen_on, strict=True)):
        held_out, gain = "", ""
        if way == 0:
            held_out = percent(found.before)
        elif way == found.best:
            held_out, gain = percent(found.after), points(found.gain)
        first = escape(label.name) if way == 0 else ""
        rows.append((first, name, f"{100 * precision:.1f}", held_out, gain))
    return rows


def show_alike(label_set: LabelSet, encode_texts: EncodeTexts, console: Console) -> None:
    """Warn of labels whose prompts are nearly the same to the model."""
    found = sorted(alike_labels(label_set, encode_texts), key=lambda each: -each.cosine)
    for each in found[:SHOWN_ALIKE]:
        console.print(f"[yellow]alike:[/] {escape(str(each))}", soft_wrap=True)
    if len(found) > SHOWN_ALIKE:
        console.print(f"[yellow]alike:[/] {len(found) - SHOWN_ALIKE} more pairs of labels")


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference as a line from ``low`` to ``high`` with a point at ``value``, and the place of
    no difference; from 0 to 100."""

    low: float
    value: float
    high: float
    none: float


def bars(labels: Sequence[WordedLabel]) -> list[Bar | None]:
    """The differences of labels on one scale. None: nothing is known."""
    gains = [label.found.gain for label in labels]
    bounds = [each for gain in gains for each in (gain.low, gain.high) if each is not None]
    least, most = min([0.0, *bounds]), max([0.0, *bounds])

    def place(value: float) -> float:
        return 2 + 96 * (value - least) / (most - least or 1.0)

    return [
        None
        if gain.value is None or gain.low is None or gain.high is None
        else Bar(place(gain.low), place(gain.value), place(gain.high), place(0.0))
        for gain in gains
    ]
