"""`clipstream labels show`: read recorded label sets back."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.errors import Halt
from pipeline.events.values.label_sets import LabelSetValue
from pipeline.labels.recorded import label_set_of
from workers.commands.labels.check import show_label_set
from workers.commands.options import Config, Set, load


def show(
    wanted: Annotated[
        str | None,
        typer.Argument(
            help="Version (or its first 8 digits or more), or name: then the newest version. "
            "Without it, all versions are listed.",
            metavar="HASH|NAME",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
    text: Annotated[
        bool, typer.Option("--text", help="Print the file's text alone, ready to be saved.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record's value, as it was published.")
    ] = False,
) -> None:
    """Show a label set that was used once, as workers have published it.

    Reads the topic kafka.output_topics.label_sets. `labels show HASH --text > FILE` gives back the
    file of a version that events name.
    """
    settings = load(config, overrides, {}, must_read=False)
    # Imported here because Kafka's client takes long to import.
    from workers.commands.labels.finding import recorded, recorded_label_sets

    label_sets = recorded_label_sets(settings)
    if wanted is None:
        for each in label_sets.values():
            typer.echo(f"{each['first_seen']}  {each['version']}  {each['name']}")
        return
    value = recorded(label_sets, wanted)
    if text:
        typer.echo(value["text"], nl=False)
    elif as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        _show(value, Console())


def _show(value: LabelSetValue, console: Console) -> None:
    model = value["model"]
    console.print(
        f"[dim]first seen   [/]{value['first_seen']}, by clipstream {value['clipstream_version']}, "
        f"with {escape(model['name'])} at {escape(model['revision'])}",
        soft_wrap=True,
    )
    try:
        show_label_set(label_set_of(value["meaning"], value["version"]), console)
    except Halt as unknown:  # of a later release: its text can be read all the same
        console.print(f"[yellow]{escape(unknown.message)}[/]", soft_wrap=True)
    console.print(escape(value["text"]), soft_wrap=True, highlight=False)
