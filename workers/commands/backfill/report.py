"""`clipstream backfill report`: makes a job's report again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from pipeline.backfill import layout
from workers.commands.backfill.typed.options import GpuHourPrice, Output
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging


def report(
    output: Output,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the page here. Default: report.html in the job's output.",
            metavar="FILE",
        ),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Read the sampled objects again and show small pictures of them, blurred until "
            "the reader asks for them. The page then holds images of your users.",
        ),
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Do not blur the pictures.")] = False,
    gpu_hour_price: GpuHourPrice = None,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Make the report of a job, complete or not, from what its shards say about themselves.

    Reads the end of each data file, and no rows. Needs no Ray and no model.
    """
    settings = load(config, overrides, {}, must_read=thumbnails)
    configure_logging(settings.log, "report")
    from workers.backfill import output as outputs
    from workers.backfill.report.gather import gather
    from workers.backfill.report.page import Choice
    from workers.backfill.report.write import make_report

    place = outputs.Output.of(output)
    choice = Choice(gpu_hour_price, thumbnails, clear)
    with contextlib.closing(outputs.open_output(settings, place)) as folder:
        page = make_report(settings, gather(folder), choice).encode()
        if file is None:
            folder.write(layout.REPORT, page)
        else:
            file.write_bytes(page)
    typer.echo(file or f"{place}/{layout.REPORT}")
