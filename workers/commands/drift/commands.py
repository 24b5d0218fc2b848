"""The commands of `clipstream drift`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

app = typer.Typer(no_args_is_help=True)

MOST_IMAGES = 100_000
TIME = "%Y-%m-%dT%H:%M:%S%z"

Place = Annotated[
    str,
    typer.Option(
        "--embeddings",
        help="Where the embeddings are. topic: the stream's own. s3://BUCKET/PREFIX: the output of "
        "a backfill. Else a folder or file with its Parquet data files.",
        metavar="PLACE",
    ),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        help="Topic: only images published at this time or later, as 2026-01-31T18:00:00Z.",
        formats=[TIME],
        metavar="TIME",
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        help="Topic: only images published before this time.", formats=[TIME], metavar="TIME"
    ),
]
Newest = Annotated[
    int, typer.Option(help="About so many images, the newest.", min=1, metavar="NUMBER")
]


@app.callback()
def drift() -> None:
    """Say what images are like, and see whether they still are."""


@app.command()
def reference(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the reference here.", metavar="FILE")
    ],
    embeddings: Place = "topic",
    config: Config = None,
    overrides: Set = None,
    since: Since = None,
    until: Until = None,
    newest: Newest = MOST_IMAGES,
) -> None:
    """Write what scores, decisions and embeddings are like in a window, for each label set.

    Choose a window in which all was well, of 1,000 images or more. Then name the file in
    label_sets.drift_reference: workers compare with it, and metrics and an alert say what they
    find. Nothing but prompts is embedded.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "drift")
    # Imported here because Kafka's client takes long to import.
    from workers.commands.drift.measuring import Where, make_reference

    where = Where(embeddings, since, until, newest)
    found = make_reference(settings, where, Console())
    output.write_text(found.text, encoding="utf-8")
    typer.echo(f"{output} written")


@app.command()
def compare(
    file: Annotated[
        Path,
        typer.Argument(help="What `clipstream drift reference` has written.", metavar="FILE"),
    ],
    embeddings: Place = "topic",
    config: Config = None,
    overrides: Set = None,
    since: Since = None,
    until: Until = None,
    newest: Newest = MOST_IMAGES,
    most: Annotated[
        int, typer.Option(help="Show so many labels of each set.", min=1, metavar="NUMBER")
    ] = 10,
) -> None:
    """Compare a window with a reference: what a worker's metrics compare, without Prometheus.

    PSI is the population stability index of a label's scores, less what chance makes of so many
    images. Up to 0.1 is little, and above 0.25 is much.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "drift")
    from workers.commands.drift.measuring import Where, compare_with, read_reference, show_drift

    where = Where(embeddings, since, until, newest)
    for each in compare_with(settings, read_reference(file), where):
        show_drift(each, most, Console())
