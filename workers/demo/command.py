"""The options of `clipstream demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for the report, the summary and the logs.")
    ] = Path("demo-output"),
    images: Annotated[
        int | None,
        typer.Option(
            help="Images to generate. Default: 300, or 2,000 with --backfill or --sample.",
            min=10,
            metavar="NUMBER",
        ),
    ] = None,
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill",
            help="Instead: classify a bucket once into Parquet. The job is killed on the way, goes "
            "on, and ends with its report and queries.",
        ),
    ] = False,
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Instead: only write the images, into a new folder with one folder for each "
            "label, for `clipstream labels test`, `labels tune` and `evaluate`.",
            metavar="FOLDER",
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep services and workers up until Ctrl-C, and print what to try."
        ),
    ] = False,
) -> None:
    """Run the whole pipeline on this machine: Kafka, S3, a small CLIP, real workers, a report.

    Needs only what `make demo` installs. The exit code is 1 if a reference has no outcome or more
    than one; with --backfill, if an image has no row or more than one. SIGTERM and SIGHUP end the
    demo as Ctrl-C does and stop its services in order; the exit code is then 128 plus the signal's
    number.
    """
    if sample is not None:
        _write_sample(sample, images or 2_000)
        return
    from rich.console import Console

    from workers.embedded.processes import ServiceError
    from workers.embedded.signals import orderly_end

    if backfill and keep:
        raise typer.BadParameter("--keep and --backfill exclude each other")
    try:
        with orderly_end():
            if backfill:
                from workers.demo.backfill import run_backfill_demo

                complete = run_backfill_demo(Console(), output.resolve(), images or 2_000)
            else:
                from workers.demo.run import run_demo

                complete = run_demo(Console(), output.resolve(), images or 300, keep)
    except ServiceError as error:
        typer.secho(str(error), err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(0 if complete else 1)


def _write_sample(folder: Path, images: int) -> None:
    from workers.demo.sample import write_sample

    try:
        write_sample(folder, images)
    except FileExistsError as error:
        raise typer.BadParameter(
            f"{folder} exists; name a new folder", param_hint="--sample"
        ) from error
    typer.echo(f"{folder}: {images} images")
