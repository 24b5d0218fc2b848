"""The commands of `clipstream labels`."""

from __future__ import annotations

import typer

from workers.commands.labels.check import check
from workers.commands.labels.show import show

app = typer.Typer(no_args_is_help=True)


@app.callback()
def labels() -> None:
    """Check and show label sets."""


app.command()(check)
app.command()(show)
