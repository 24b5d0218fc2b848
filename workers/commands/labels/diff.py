"""The options of `clipstream labels diff`. What it does is in ``comparing``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workers.commands.evaluation.options import check_report
from workers.commands.labels.comparing import PAGES
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

MOST_IMAGES = 100_000
"""Images that are compared unless a person says otherwise: some minutes' reading."""


def diff(
    old: Annotated[
        str,
        typer.Argument(
            help="The label set in force: its file, or a version or name on the topic of label "
            "sets.",
            metavar="OLD",
        ),
    ],
    new: Annotated[
        str, typer.Argument(help="The label set that may replace OLD, likewise.", metavar="NEW")
    ],
    embeddings: Annotated[
        str,
        typer.Option(
            help="Where the embeddings are. topic: the stream's own. s3://BUCKET/PREFIX: the "
            "output of a backfill. Else a folder or file with its Parquet data files. events: "
            "nothing is scored; compare the results that the topic's events hold of both label "
            "sets, as of one in force and a shadow set.",
            metavar="PLACE",
        ),
    ] = "topic",
    config: Config = None,
    overrides: Set = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Topic, events: only images published at this time or later, as "
            "2026-01-31T18:00:00Z.",
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            metavar="TIME",
        ),
    ] = None,
    newest: Annotated[
        int, typer.Option(help="Compare about so many images, the newest.", min=1, metavar="NUMBER")
    ] = MOST_IMAGES,
    all_images: Annotated[
        bool,
        typer.Option(
            "--all-images", help="Also images that OLD did not score, because of their route."
        ),
    ] = False,
    images_per_day: Annotated[
        float | None,
        typer.Option(
            help="How many images a day the label set scores. Default: as the times of the images "
            "on the topic tell. A backfill's rows have no times.",
            min=0,
            metavar="NUMBER",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", "-o", help="Write an HTML page with samples.", metavar="FILE"),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Show samples' pictures on the page, read again from their store. Blurred until "
            "a person asks for them.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show which decisions change when NEW replaces OLD, on images that were seen before.

    Both label sets score the recorded embeddings, so no image is read and no GPU is used. The
    label sets may have different names, labels and actions.
    """
    check_report(report)
    settings = load(config, overrides, {}, must_read=pictures)
    configure_logging(settings.log, "labels")
    # Imported here because Kafka's client takes long to import.
    from workers.commands.labels.comparing.diffing import pictures as pictures_of
    from workers.commands.labels.comparing.diffing import run_diff, show_diff
    from workers.commands.labels.comparing.sources import Selection
    from workers.commands.labels.finding import named

    before, now = named(settings, old), named(settings, new)
    selection = Selection(None if all_images else before.name, since, newest)
    found = run_diff(settings, before, now, embeddings, selection, images_per_day)
    if report is not None:
        shown = pictures_of(settings, found.comparison) if pictures else {}
        # Imported here because jinja2 is part of an extra.
        from workers.commands.evaluation.page import write_page

        values = found.values() | {"pictures": shown}
        write_page(report, "diff.html.jinja", values, folder=PAGES)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
        return
    show_diff(found, Console())
    if report is not None:
        typer.echo(f"{report} written")
