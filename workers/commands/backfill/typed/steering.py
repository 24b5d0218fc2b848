"""`status`, `pause`, `resume`, `cancel` and `scale`: they work from anywhere, through the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.backfill.typed.options import Output
from workers.commands.options import Config, Set, load

if TYPE_CHECKING:
    from pipeline.backfill.control import Control
    from workers.settings.loading import Settings


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


def pause(output: Output, config: Config = None, overrides: Set = None) -> None:
    """Let the workers return their shards and end. The driver waits, until `resume`."""
    from workers.commands.backfill.asking import paused

    _ask(load(config, overrides, {}, must_read=False), output, paused)


def resume(output: Output, config: Config = None, overrides: Set = None) -> None:
    """Let a job go on that is paused or cancelled. If its driver has ended, give the command `run`
    again too."""
    from workers.commands.backfill.asking import resumed

    _ask(load(config, overrides, {}, must_read=False), output, resumed)


def cancel(output: Output, config: Config = None, overrides: Set = None) -> None:
    """End a job. What is committed stays, and `resume` and `run` together let it go on."""
    from workers.commands.backfill.asking import cancelled

    _ask(load(config, overrides, {}, must_read=False), output, cancelled)


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
