"""The options of `clipstream labels preview`. What it does is in ``comparing``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workers.commands.evaluation.options import check_report
from workers.commands.labels.comparing import PAGES
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging


def preview(
    label_set: Annotated[Path, typer.Argument(help="YAML file of the label set.", metavar="SET")],
    images: Annotated[
        Path, typer.Option(help="Folder of images, with its subfolders.", metavar="FOLDER")
    ],
    report: Annotated[
        Path, typer.Option("--report", "-o", help="The page to write.", metavar="FILE")
    ] = Path("preview.html"),
    config: Config = None,
    overrides: Set = None,
    limit: Annotated[
        int, typer.Option(help="Look at so many files, in order of their names.", min=1)
    ] = 1_000,
    each_label: Annotated[
        int, typer.Option(help="Show so many images of each label, the best first.", min=1)
    ] = 60,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Never blur. Without it, pictures are blurred until asked."),
    ] = False,
) -> None:
    """Show what a label set makes of the images of a folder: a page with each label's images.

    An image stands under each label that it matches, and under its best label. Below a label's
    threshold are the images that a lower one would take in.
    """
    check_report(report)
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "labels")
    # Imported here because clients of stores take long to import.
    from workers.commands.evaluation.page import write_page
    from workers.commands.labels.comparing.previewing import run_preview

    found = run_preview(settings, label_set, images, limit, Console(stderr=True))
    values = found.values(each_label) | {"clear": clear}
    write_page(report, "preview.html.jinja", values, folder=PAGES)
    typer.echo(f"{report} written: {len(found.images)} images")
