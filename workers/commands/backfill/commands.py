"""The command line of `clipstream backfill`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from pipeline.backfill.control import Control
    from pipeline.backfill.running.limits import Limits
    from workers.settings.loading import Settings

app = typer.Typer(no_args_is_help=True, help="Classify the objects of a bucket or a manifest once.")

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
        metavar="MONEY",
    ),
]
GpuHourPrice = Annotated[
    float | None,
    typer.Option(help="Price of one GPU for an hour.", min=0, metavar="MONEY"),
]


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
    workers: Workers = None,
    max_hours: MaxHours = None,
    max_cost: MaxCost = None,
    gpu_hour_price: GpuHourPrice = None,
) -> None:
    """Cut a job into shards and run what is left of it. The same command goes on after any end.

    Exit codes: 0 complete; 2 the settings are wrong; 3 halted, a person must act; 4 crash loop; 5
    stopped, but a worker had to be killed; 6 stopped, cancelled or paused by a limit: shards are
    left, and the same command goes on. While `clipstream backfill pause` holds, it waits.
    """
    limits = _limits(max_hours, max_cost, gpu_hour_price)
    settings = _prepared(config, overrides, workers)
    # Imported here because importing Ray takes seconds, and a mistyped setting should fail at once.
    from workers.commands.backfill.driver import run_backfill

    raise typer.Exit(run_backfill(settings, source, output, limits))


@app.command()
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
