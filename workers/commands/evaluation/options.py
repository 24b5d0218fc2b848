"""Options that commands on labelled images share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import Halt

Images = Annotated[
    Path,
    typer.Option(
        help="A folder with one folder of images for each label, or a CSV or Parquet file with a "
        "path and labels in each row: docs/decisions.md.",
        metavar="FOLDER|CSV|PARQUET",
    ),
]
SetFile = Annotated[
    Path, typer.Argument(help="YAML file with one label set.", metavar="SET", exists=True)
]
Report = Annotated[
    Path | None, typer.Option(help="Also write a page with pictures.", metavar="FILE.html")
]


def check_report(report: Path | None) -> None:
    """Find out before the work whether a report can be written after it.

    Raises:
        Halt: ``evaluate.invalid``, ``evaluate.lacks_package``.
    """
    if report is None:
        return
    if find_spec("jinja2") is None:
        raise Halt(
            "evaluate.lacks_package",
            "--report: needs jinja2; install clipstream[evaluate]",
        )
    if not report.parent.is_dir():
        raise Halt("evaluate.invalid", f"{report}: no such folder; create it first")
