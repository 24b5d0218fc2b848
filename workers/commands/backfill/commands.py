"""The command line of `clipstream backfill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.adapters.manifests.kinds import InputKind
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

app = typer.Typer(no_args_is_help=True, help="Classify the objects of a bucket or a manifest once.")

Output = Annotated[
    str, typer.Argument(help="s3://BUCKET/PREFIX where the job writes.", metavar="OUTPUT")
]

_ROWS = "Which objects"
_DRY = "Dry run"


@app.command()
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
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", help="Overrides workers.count.", min=1, metavar="NUMBER"),
    ] = None,
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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print rows, bytes, shards, hours and money, and write nothing.",
            rich_help_panel=_DRY,
        ),
    ] = False,
    gpu_hour_price: Annotated[
        float | None,
        typer.Option(
            help="US dollars that one GPU costs an hour.",
            min=0,
            metavar="DOLLARS",
            rich_help_panel=_DRY,
        ),
    ] = None,
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

    Exit codes: 0 complete, or stopped; 2 the settings are wrong; 3 halted, a person must act; 4
    crash loop; 5 stopped, but a worker had to be killed.
    """
    settings = load(config, overrides, {"workers.count": workers})
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    # Imported here because pyarrow and DuckDB take a second, and Ray takes several. A mistyped
    # setting should fail at once.
    from pipeline.adapters.manifests.deciding import Choice
    from workers.backfill.planning_request import Request

    choice = Choice(where, sample, seed, all_versions)
    request = Request.of(source, input_kind, choice, limit, tuple(carry or ()), tuple(since or ()))
    if dry_run:
        from rich.console import Console

        from workers.commands.backfill.dry_run import Asked
        from workers.commands.backfill.dry_run import dry_run as run_dry

        asked = Asked(gpu_hour_price, rows_per_second, sample_rate, cluster_region)
        run_dry(settings, request, output, asked, Console())
        return
    configure_logging(settings.log, "driver")
    from workers.commands.backfill.driver import run_backfill

    raise typer.Exit(run_backfill(settings, request, output))


@app.command()
def rescore(
    output: Output,
    label_sets: Annotated[
        list[Path],
        typer.Option(
            "--label-set",
            "-l",
            help="A YAML file with a label set, or a folder of such files; repeat it for more.",
            metavar="FILE",
        ),
    ],
    child: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="s3://BUCKET/PREFIX of the new scores. Default: beside the job's output, with a "
            "name that follows from the label sets.",
            metavar="OUTPUT",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Score a job's rows with other label sets, from the embeddings that it wrote.

    No image is read. The new scores become a job of their own, with the rows of the first one in
    the same order and without embeddings. The first job stays as it is. A label set with a name of
    the first job scores the rows that had that label set; one with a new name scores all rows.

    The command shows which decisions change, with samples, and writes them to changes.json. The
    same command goes on after any end.

    Exit codes: 0 done; 2 the settings are wrong; 3 halted, a person must act.
    """
    settings = load(config, overrides, {}, must_read=False)
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, "rescore")
    from workers.commands.backfill.revising.rescore import run_rescore

    raise typer.Exit(run_rescore(settings, output, label_sets, child, Console()))


@app.command()
def publish(
    output: Output,
    config: Config = None,
    overrides: Set = None,
    share: Annotated[
        str,
        typer.Option(
            help="The part of the job to publish, for several publishers: 1/4 to 4/4 for four. At "
            "most 16 publishers.",
            metavar="NUMBER/COUNT",
        ),
    ] = "1/1",
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Publish the job from its beginning where Kafka has forgotten what was published. "
            "The events have the same ids as before.",
        ),
    ] = False,
) -> None:
    """Publish the events of committed shards to Kafka, each once.

    Run it again after any end: it goes on where it was. It may run while the job runs, and
    publishes what is committed when it starts. A publisher that starts takes over from an earlier
    one of the same share.

    Exit codes: 0 all that is committed is published, or stopped; 2 the settings are wrong; 3
    halted, a person must act.
    """
    settings = load(config, overrides, {}, must_read=False)
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, "publish")
    from workers.commands.backfill.publish import run_publish

    typer.echo(run_publish(settings, output, share, again=again))


@app.command()
def erase(
    output: Output,
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            help="A text file with an object a line: s3://BUCKET/KEY, or a key of any bucket. A "
            "line in double quotes is read as a JSON string.",
            metavar="FILE",
        ),
    ],
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Take the rows of objects out of a job's files: results, failures, plan, samples.

    Files are rewritten on the condition that nobody else has changed them. Rows that stay keep
    their numbers. erased.json says what was erased and when, without keys. The command refuses
    while a driver runs the job; stop its workers first. The same command goes on after any end.

    Exit codes: 0 erased, or nothing to erase; 2 the settings or the file are wrong; 3 halted, a
    person must act.
    """
    settings = load(config, overrides, {}, must_read=False)
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, "erase")
    from workers.commands.backfill.revising.erase import run_erase

    raise typer.Exit(run_erase(settings, output, keys, Console()))
