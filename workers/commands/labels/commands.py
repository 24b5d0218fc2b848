"""The commands of `clipstream labels`."""

from __future__ import annotations

import typer

from workers.commands.labels.check import check
from workers.commands.labels.diff import diff
from workers.commands.labels.learning.training import train_head
from workers.commands.labels.preview import preview
from workers.commands.labels.show import show
from workers.commands.labels.testing import measure
from workers.commands.labels.tuning import tune

app = typer.Typer(no_args_is_help=True)


@app.callback()
def labels() -> None:
    """Check label sets, test them on images, choose their thresholds, compare and train them."""


app.command()(check)
app.command()(show)
app.command("test")(measure)
app.command()(tune)
app.command()(diff)
app.command()(preview)
app.command("train-head")(train_head)
