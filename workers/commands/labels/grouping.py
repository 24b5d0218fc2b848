"""Groups at a terminal and as plain data, for `clipstream labels test --groups`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.errors import Halt
from pipeline.evaluation.grouping import FEW_IMAGES, Gap
from pipeline.evaluation.judging import Interval
from workers.commands.evaluation.telling import (
    percent,
    plain_interval,
    plain_share,
    table_of_labels,
    told,
)
from workers.commands.labels.grouped import Grouped, LabelGroups, Rate

SHOWN_GAPS = 10
"""Of a column at a terminal."""


def columns_of(groups: str | None) -> tuple[str, ...]:
    """The columns that the option names.

    Raises:
        Halt: ``evaluate.invalid``.
    """
    if groups is None:
        return ()
    columns = tuple(column.strip() for column in groups.split(","))
    if not all(columns) or len({*columns}) < len(columns):
        raise Halt(
            "evaluate.invalid", f"--groups: {groups!r}; name each column once, as in age,place"
        )
    return columns


def show_groups(grouped: Grouped, console: Console) -> None:
    """Decisions by group, and the gaps that are more than chance."""
    console.print(f"\n[bold]by {escape(grouped.column)}[/]", soft_wrap=True)
    decided = [rate for rate in grouped.decisions if any(s.hits for s in rate.shares.values())]
    table = table_of_labels("images", *(escape(rate.of) for rate in decided), first="group")
    for name, images in grouped.images.items():
        table.add_row(escape(name), str(images), *(percent(rate.shares[name]) for rate in decided))
    console.print(table)
    gaps = grouped.gaps
    sure = [(rate, gap) for rate, gap in gaps if gap.sure]
    table = table_of_labels("rate", "group", "share", "difference", first="differ")
    for rate, gap in sure[:SHOWN_GAPS]:
        what = rate.what if rate.at is None else f"{rate.what} at {told(rate.at)}"
        table.add_row(escape(rate.of), what, escape(gap.low), percent(rate.shares[gap.low]), "")
        high = percent(rate.shares[gap.high])
        table.add_row("", "", escape(gap.high), high, _difference(gap.difference))
    if sure:
        console.print(table)
    console.print(f"{len(sure)} of {len(gaps)} rates differ between groups by more than chance")
    if grouped.unknown:
        console.print(f"[dim]in no group: {grouped.unknown} images[/]")
    for name, count in grouped.few.items():
        console.print(
            f"[yellow]few:[/] {escape(name)}: {count} rates are of fewer than {FEW_IMAGES} images "
            "and in no comparison",
            soft_wrap=True,
        )
    console.print("[dim]every rate, and thresholds by group: --report, --json[/]")


def _difference(found: Interval) -> str:
    if found.value is None or found.low is None or found.high is None:
        return ""
    return f"{100 * found.value:.1f} [dim]{100 * found.low:.1f} to {100 * found.high:.1f}[/]"


def plain_groups(grouped: Grouped) -> dict[str, Any]:
    """The groups of one column as plain data."""
    return {
        "column": grouped.column,
        "images": dict(grouped.images),
        "in_no_group": grouped.unknown,
        "decisions": {rate.of: _plain_rate(rate) for rate in grouped.decisions},
        "labels": [_plain_label(label) for label in grouped.labels],
    }


def _plain_label(label: LabelGroups) -> dict[str, Any]:
    return {
        "name": label.name,
        "threshold": label.key,
        "score": label.score,
        "rates": {rate.what.replace(" ", "_"): _plain_rate(rate) for rate in label.rates},
        "thresholds_of_the_same_recall": dict(label.same_recall),
        "thresholds_of_the_same_false_positives": dict(label.same_false_positives),
    }


def _plain_rate(rate: Rate) -> dict[str, Any]:
    return {
        "groups": {name: plain_share(share) for name, share in rate.shares.items()},
        "largest_gap": None if (gap := rate.gap) is None else _plain_gap(gap),
        "too_few": list(rate.few),
    }


def _plain_gap(gap: Gap) -> dict[str, Any]:
    return {"low": gap.low, "high": gap.high, "difference": plain_interval(gap.difference)}
