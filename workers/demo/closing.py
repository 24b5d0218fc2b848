"""The closing output of `clipstream demo`."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import CODES
from workers.demo.report import Summary


def print_summary(console: Console, summary: Summary, page: Path) -> None:
    """The table of outcomes, and where to look next."""
    table = Table(title="What became of the references", title_justify="left")
    table.add_column("outcome")
    table.add_column("references", justify="right")
    table.add_column("why", overflow="fold")
    table.add_row("classified", str(summary.classified), "")
    table.add_row("skipped", str(summary.skipped), "nothing to classify: deletes, test events")
    for code, count in summary.dead_letters.items():
        table.add_row(Text(f"dead letter {code}", "yellow"), str(count), CODES[code].meaning)
    table.add_section()
    table.add_row("sent", str(summary.references), _verdict(summary))
    console.print(table)
    accuracy = "unknown" if summary.accuracy is None else f"{summary.accuracy:.1%}"
    console.print(
        f"accuracy {accuracy} · {summary.images_per_second:g} images/s · {summary.delivery}"
    )
    console.print(f"report   {page}", soft_wrap=True)


def _verdict(summary: Summary) -> Text:
    if summary.complete:
        return Text("each has exactly one outcome", "green")
    return Text(
        f"NOT one outcome each: {summary.lost} lost, {summary.duplicated} duplicated", "red"
    )


def keep_running(console: Console, commands: list[tuple[str, str]]) -> None:
    """Print what to try in another terminal, and wait for Ctrl-C."""
    console.print("\nServices and workers stay up. In another terminal:", style="bold")
    for purpose, command in commands:
        console.print(f"\n  # {purpose}", style="dim")
        console.print(f"  {command}", soft_wrap=True, highlight=False)
    console.print("\nCtrl-C ends everything.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopping")
