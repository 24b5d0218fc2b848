"""The command line of `clipstream backfill`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.adapters.manifests.kinds import InputKind
from pipeline.errors import Halt
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from pipeline.backfill.control import Control
    from pipeline.backfill.running.limits import Limits
    from workers.settings.loading import Settings

app = typer.Typer(no_args_is_help=True)

_PACKAGES = ("pyarrow", "duckdb")


@app.callback()
def root() -> None:
    """Classify the objects of a bucket or a manifest once."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise Halt(
            "backfill.packages_missing",
            f"backfill: {' and '.join(missing)} are not installed; install clipstream[backfill]",
        )


Output = Annotated[
    str, typer.Argument(help="s3://BUCKET/PREFIX where the job writes.", metavar="OUTPUT")
]

Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", help="Overrides workers.count.", min=1, metavar="NUMBER"),
]
MaxHours = Annotated[
    float | None,
    typer.Option(
        help="Pause the job once it has run for so many hours, all its runs together.",
        min=0,
        metavar="HOURS",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        help="Pause the job once its GPUs have cost so much, all its runs together. Needs "
        "--gpu-hour-price.",
        min=0,
        metavar="DOLLARS",
    ),
]
GpuHourPrice = Annotated[
    float | None,
    typer.Option(help="US dollars that one GPU costs an hour.", min=0, metavar="DOLLARS"),
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
    workers: Workers = None,
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
    limits = _limits(max_hours, max_cost, gpu_hour_price)
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

    raise typer.Exit(run_backfill(settings, request, output, limits))


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
    limits = _limits(max_hours, max_cost, gpu_hour_price)
    settings = _prepared(config, overrides, workers)
    from workers.commands.backfill.retrying import run_retry

    raise typer.Exit(run_retry(settings, output, code or ["*"], into, limits))


@app.command()
def status(
    output: Output,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Show how far a job is, from the objects of its output. Works from anywhere, with or without a
    driver."""
    from pipeline.adapters.clock import SystemClock
    from workers.commands.backfill.standing import lines, look_at

    standing = look_at(load(config, overrides, {}, must_read=False), output)
    if as_json:
        typer.echo(standing.model_dump_json(indent=1))
        return
    for label, value in lines(standing, SystemClock()):
        typer.echo(f"{label:>12}  {value}")


@app.command()
def pause(output: Output, config: Config = None, overrides: Set = None) -> None:
    """Let the workers return their shards and end. The driver waits, until `resume`."""
    from workers.commands.backfill.asking import paused

    _ask(load(config, overrides, {}, must_read=False), output, paused)


@app.command()
def resume(output: Output, config: Config = None, overrides: Set = None) -> None:
    """Let a job go on that is paused or cancelled. If its driver has ended, give the command `run`
    again too."""
    from workers.commands.backfill.asking import resumed

    _ask(load(config, overrides, {}, must_read=False), output, resumed)


@app.command()
def cancel(output: Output, config: Config = None, overrides: Set = None) -> None:
    """End a job. What is committed stays, and `resume` and `run` together let it go on."""
    from workers.commands.backfill.asking import cancelled

    _ask(load(config, overrides, {}, must_read=False), output, cancelled)


@app.command()
def scale(
    output: Output,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", help="Most workers. 0: as set.", min=0, metavar="NUMBER"),
    ] = None,
    objects_per_s: Annotated[
        float | None,
        typer.Option(
            help="Most objects a second of the whole job. 0: as set.", min=0, metavar="RATE"
        ),
    ] = None,
    bytes_per_s: Annotated[
        float | None,
        typer.Option(
            help="Most bytes a second of the whole job. 0: as set.", min=0, metavar="RATE"
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Change the number of workers or the rate of a job while it runs. What is not named stays."""
    if workers is None and objects_per_s is None and bytes_per_s is None:
        raise typer.BadParameter("name --workers, --objects-per-s or --bytes-per-s")
    from workers.commands.backfill.asking import scaled

    settings = load(config, overrides, {}, must_read=False)
    _ask(settings, output, scaled(workers, objects_per_s, bytes_per_s))


def _ask(settings: Settings, output: str, change: Callable[[Control], Control]) -> None:
    from workers.commands.backfill.asking import ask

    typer.echo(ask(settings, output, change))


def _prepared(config: Config, overrides: Set, workers: int | None) -> Settings:
    """The settings of a command that runs workers, which log as this process does."""
    settings = load(config, overrides, {"workers.count": workers})
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, "driver")
    return settings


def _limits(
    max_hours: float | None, max_cost: float | None, gpu_hour_price: float | None
) -> Limits:
    from pipeline.backfill.running.limits import Limits

    if max_cost is not None and not gpu_hour_price:
        raise typer.BadParameter("--max-cost needs --gpu-hour-price")
    return Limits(max_hours, max_cost, gpu_hour_price)
