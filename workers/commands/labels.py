"""`clipstream labels`: look at label sets before a worker does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.labels import Decision, Label, LabelSet, Threshold

SHOWN_PROMPTS = 3

app = typer.Typer(no_args_is_help=True)


@app.callback()
def labels() -> None:
    """Look at label sets."""


@app.command()
def check(
    files: Annotated[
        list[Path],
        typer.Argument(help="YAML files of one label set each, or folders of such files."),
    ],
) -> None:
    """Check label sets together, as a worker loads them, and show what they say.

    Exits with 1 when anything is wrong, and then prints every problem as file:line: message.
    """
    try:
        label_sets = load_label_sets(files)
    except Halt as invalid:
        typer.echo(invalid.message, err=True)
        raise typer.Exit(1) from invalid
    console = Console()
    for label_set in label_sets:
        _show(label_set, console)


def _show(label_set: LabelSet, console: Console) -> None:
    independent = label_set.decision is Decision.INDEPENDENT
    console.print(_summary(label_set), soft_wrap=True)  # a version must not be broken in two
    table = Table()
    table.add_column("label", style="bold", overflow="fold")
    table.add_column("prompts", overflow="fold")
    if independent:
        table.add_column("against", overflow="fold")
    table.add_column("review from", no_wrap=True)
    table.add_column("act from", no_wrap=True)
    for label in label_set.labels:
        contrast = [_texts(label.contrast)] if independent else []
        table.add_row(escape(label.name), _texts(label.prompts), *contrast, *_thresholds(label))
    console.print(table)
    for advice in label_set.advice():
        console.print(f"[yellow]advice:[/] {escape(advice)}", soft_wrap=True)
    console.print()


def _summary(label_set: LabelSet) -> str:
    pin = label_set.model
    prompts = sum(len(label.prompts) for label in label_set.labels)
    facts = {
        "decision": label_set.decision.value,
        "actions": " > ".join(label_set.actions),
        "default": label_set.default_action,
        "unclassified": label_set.unclassified_action,
        "model": f"{pin.name} at {pin.revision}" if pin else "any",
        "labels": f"{len(label_set.labels)}, of {prompts} prompts",
        "version": label_set.version,
    }
    lines = [f"[dim]{name:<13}[/]{escape(value)}" for name, value in facts.items()]
    return "\n".join([f"[bold]{escape(label_set.name)}[/]", *lines])


def _thresholds(label: Label) -> tuple[str, str]:
    if label.neutral:
        return ("[dim]neutral[/]", "[dim]neutral[/]")
    return (_threshold(label.review), _threshold(label.act))


def _threshold(threshold: Threshold | None) -> str:
    if threshold is None:
        return "[dim]never[/]"
    return f"{threshold.score:g} [cyan]{escape(threshold.action)}[/]"


def _texts(texts: tuple[str, ...]) -> str:
    shown = [escape(text) for text in texts[:SHOWN_PROMPTS]]
    if len(texts) > SHOWN_PROMPTS:
        shown.append(f"[dim]and {len(texts) - SHOWN_PROMPTS} more[/]")
    return "\n".join(shown)
