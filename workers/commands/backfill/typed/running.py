"""`run` and `retry`: they cut a job, and run it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipeline.adapters.manifests.kinds import Dedupe, InputKind
from workers.commands.backfill.typed.options import (
    GpuHourPrice,
    MaxCost,
    MaxHours,
    Output,
    Workers,
    limits_of,
)
from workers.commands.options import Config, Set, load, log_here

_ROWS = "Which objects"
_DRY = "Dry run"


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="s3://BUCKET/PREFIX of the objects, or a manifest, here or in a bucket: S3 "
            "Inventory's manifest.json, Parquet, CSV, JSON lines.",
            metavar="SOURCE",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="s3://BUCKET/PREFIX where the job writes.")
    ],
    config: Config = None,
    overrides: Set = None,
    workers: Workers = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Do not wait until the lease of an earlier driver has expired. For drivers that "
            "have crashed; one that still runs ends.",
        ),
    ] = False,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    gpu_hour_price: GpuHourPrice = None,
    input_kind: Annotated[
        InputKind | None,
        typer.Option(
            help="What SOURCE is, where its name does not tell. A SOURCE that ends with a slash is "
            "then a folder of such manifests.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Take objects for which this expression of DuckDB is true. It sees the columns of "
            "SOURCE, and uri and size.",
            metavar="EXPRESSION",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Take the first so many objects.", min=1, metavar="NUMBER", rich_help_panel=_ROWS
        ),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(
            help="Take this share of the objects, from 0 to 1, chosen by their names.",
            min=0,
            max=1,
            metavar="SHARE",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Another seed takes another sample.", min=0, rich_help_panel=_ROWS),
    ] = 0,
    all_versions: Annotated[
        bool,
        typer.Option(
            "--all-versions",
            help="Take all versions in an S3 Inventory, and not the latest ones alone.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    carry: Annotated[
        list[str] | None,
        typer.Option(
            help="Put this further column of your manifest into the metadata of results. May be "
            "repeated.",
            metavar="COLUMN",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    since: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out the objects that the job of this OUTPUT has, unless their ETag has "
            "changed. Objects that the job has and SOURCE lacks are listed in removed.parquet. May "
            "be repeated.",
            metavar="OUTPUT",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    dedupe: Annotated[
        Dedupe | None,
        typer.Option(
            help="etag+size: read and encode objects of equal content once, and write a row for "
            "each. Objects are equal if SOURCE states the same size and the same ETag, which must "
            "be an MD5, or that of a multipart upload.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print rows, bytes, shards, hours and money, and write nothing.",
            rich_help_panel=_DRY,
        ),
    ] = False,
    rows_per_second: Annotated[
        float | None,
        typer.Option(
            help="Objects that one worker classifies a second.",
            min=0.001,
            metavar="RATE",
            rich_help_panel=_DRY,
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            help="Measure the rate: classify so many objects of the plan on this machine.",
            min=8,
            metavar="NUMBER",
            rich_help_panel=_DRY,
        ),
    ] = None,
    cluster_region: Annotated[
        str | None,
        typer.Option(
            help="AWS region of the cluster, for the price of transfer. Default: that of the AWS "
            "environment.",
            metavar="REGION",
            rich_help_panel=_DRY,
        ),
    ] = None,
) -> None:
    """Cut a job into shards and run what is left of it. The same command goes on after any end.

    The job keeps its objects: another SOURCE, or other options that decide which objects there are,
    need another output.

    Exit codes: 0 complete; 2 the settings are wrong; 3 halted, a person must act; 4 crash loop; 5
    stopped, but a worker had to be killed; 6 stopped, cancelled or paused by a limit: shards are
    left, and the same command goes on. While `clipstream backfill pause` holds, the command waits.
    """
    limits = limits_of(max_hours, max_cost, gpu_hour_price)
    settings = load(config, overrides, {"workers.count": workers})
    # Imported here because pyarrow and DuckDB take a second, and Ray takes several. A mistyped
    # setting should fail at once.
    from pipeline.adapters.manifests.deciding import Choice
    from workers.backfill.planning_request import Request

    choice = Choice(where, sample, seed, all_versions)
    request = Request.of(
        source, input_kind, choice, limit, tuple(carry or ()), tuple(since or ()), dedupe
    )
    if dry_run:
        from workers.commands.backfill.dry_run import Asked
        from workers.commands.backfill.dry_run import dry_run as run_dry

        asked = Asked(gpu_hour_price, rows_per_second, sample_rate, cluster_region)
        run_dry(settings, request, output, asked, Console())
        return
    settings = log_here(settings, "driver")
    from workers.commands.backfill.driver import run_backfill

    raise typer.Exit(run_backfill(settings, request, output, limits, take_over=take_over))


def retry(
    output: Output,
    code: Annotated[
        list[str] | None,
        typer.Option(
            help="Codes of the rows to repeat, as `fetch.*`; give it several times for several. "
            "Default: all.",
            metavar="PATTERN",
        ),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="s3://BUCKET/PREFIX where the new job writes. Default: OUTPUT/retry-1, or the "
            "next free number.",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
    workers: Workers = None,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    gpu_hour_price: GpuHourPrice = None,
) -> None:
    """Run the failed rows of a job again, as a job of its own. The same command goes on after any
    end. Exit codes as of `run`.
    """
    limits = limits_of(max_hours, max_cost, gpu_hour_price)
    settings = log_here(load(config, overrides, {"workers.count": workers}), "driver")
    from workers.commands.backfill.retrying import run_retry

    raise typer.Exit(run_retry(settings, output, code or ["*"], into, limits))
