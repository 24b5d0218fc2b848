"""The command line of `clipstream backfill`."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.commands.backfill.report import report
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

app = typer.Typer(no_args_is_help=True, help="Classify the objects of a bucket or a manifest once.")

Output = Annotated[
    str, typer.Argument(help="s3://BUCKET/PREFIX where the job writes.", metavar="OUTPUT")
]


app.command()(report)


@app.command()
def run(
    source: Annotated[
        str, typer.Argument(help="s3://BUCKET/PREFIX of the objects.", metavar="SOURCE")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="s3://BUCKET/PREFIX where the job writes.")
    ],
    config: Config = None,
    overrides: Set = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", help="Overrides workers.count.", min=1, metavar="NUMBER"),
    ] = None,
) -> None:
    """Cut a job into shards and run what is left of it. The same command goes on after any end.

    Exit codes: 0 complete, or stopped; 2 the settings are wrong; 3 halted, a person must act; 4
    crash loop; 5 stopped, but a worker had to be killed.
    """
    settings = load(config, overrides, {"workers.count": workers})
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, "driver")
    # Imported here because importing Ray takes seconds, and a mistyped setting should fail at once.
    from workers.commands.backfill.driver import run_backfill

    raise typer.Exit(run_backfill(settings, source, output))
