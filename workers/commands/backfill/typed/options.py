"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.backfill.running.limits import Limits

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


def limits_of(
    max_hours: float | None, max_cost: float | None, gpu_hour_price: float | None
) -> Limits:
    from pipeline.backfill.running.limits import Limits

    if max_cost is not None and not gpu_hour_price:
        raise typer.BadParameter("--max-cost needs --gpu-hour-price")
    return Limits(max_hours, max_cost, gpu_hour_price)
