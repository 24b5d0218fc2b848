"""The options of `clipstream explain`. What it does is in ``explaining``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.labels.explaining import TOLERANCE
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

SHOWN = 8
"""Labels of each label set in the table: those with the highest scores."""


def explain(
    event: Annotated[
        str,
        typer.Argument(
            help="TOPIC[PARTITION]@OFFSET of a classification, or a JSON file: the value of the "
            "event, a line of `kcat -J`, or the whole event from the console. -: standard input.",
            metavar="EVENT",
        ),
    ],
    embedding: Annotated[
        str | None,
        typer.Option(
            help="TOPIC[PARTITION]@OFFSET of the embedding, or a file with its raw value. Without "
            "it, the embedding is looked for on the embeddings topic.",
            metavar="FILE|POSITION",
        ),
    ] = None,
    label_set: Annotated[
        list[Path] | None,
        typer.Option(
            help="File or folder with the label set of that time. May be repeated. Without it: "
            "label_sets.paths, then the topic of label sets.",
            metavar="FILE",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Largest difference that counts as equal. Prompts embedded on other hardware "
            "differ by 1e-7, and scores then by up to 1e-5.",
            min=0,
        ),
    ] = TOLERANCE,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Show every label, not only the best {SHOWN}.")
    ] = False,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also show each prompt's cosine with the image.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole derivation as JSON.")
    ] = False,
) -> None:
    """Show how each score of an event came about, and check that the event says so.

    Takes the published embedding, the label set of the event's version and the event's model. No
    GPU is used, and no image is read.

    Exit codes: 0 everything matches; 1 something does not, and the message says what; 2 the
    arguments or the settings are wrong.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "explain")
    # Imported here because Kafka's client takes long to import.
    from workers.commands.explaining import (
        given_embedding,
        given_event,
        run_explain,
        show_explained,
    )

    given = given_event(settings, event)
    vector = given_embedding(settings, given, embedding)
    explained = run_explain(settings, given.event, vector, label_set or [], tolerance)
    if as_json:
        typer.echo(json.dumps(explained.to_json(), ensure_ascii=False, indent=2))
    else:
        most = None if everything else SHOWN
        show_explained(explained, Console(), most, with_prompts=prompts)
    raise typer.Exit(1 if explained.differences else 0)
