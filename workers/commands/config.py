"""`clipstream config`: the effective settings and where each came from."""

from __future__ import annotations

from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workers.settings import Loaded, effective


def print_table(loaded: Loaded, console: Console, changed_only: bool) -> None:
    """A row a setting: path, value, origin. Secrets are redacted."""
    table = Table(box=None, pad_edge=False)
    table.add_column("setting")
    table.add_column("value", overflow="fold")
    table.add_column("origin")
    for path, value, origin in effective(loaded):
        if changed_only and origin == "default":
            continue
        style = "dim" if origin == "default" else ""
        table.add_row(Text(path, style), Text(value, style), Text(origin, style))
    console.print(table)


def as_yaml(loaded: Loaded) -> str:
    """The effective settings as a file that ``--config`` reads. Secrets are redacted, so they must
    come from the environment again."""
    values: dict[str, Any] = loaded.settings.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
