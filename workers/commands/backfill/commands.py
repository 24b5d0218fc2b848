"""The command line of `clipstream backfill`."""

from __future__ import annotations

import importlib.util

import typer

from pipeline.errors import Halt
from workers.commands.backfill.report import report
from workers.commands.backfill.typed import afterwards, running, steering

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


for command in (
    running.run,
    steering.status,
    steering.pause,
    steering.resume,
    steering.scale,
    steering.cancel,
    running.retry,
    report,
    afterwards.publish,
    afterwards.rescore,
    afterwards.erase,
):
    app.command()(command)
