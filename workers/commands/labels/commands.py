"""The commands of `clipstream labels`."""

from __future__ import annotations

import typer

from workers.commands.labels.check import check
from workers.commands.labels.diff import diff
from workers.commands.labels.preview import preview
from workers.commands.labels.show import show

app = typer.Typer(no_args_is_help=True)


@app.callback()
def labels() -> None:
    """Check label sets, show recorded ones, and see what they decide."""


app.command()(check)
app.command()(show)
app.command()(diff)
app.command()(preview)
