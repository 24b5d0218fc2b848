"""Commands of examples, as the real command line reads them."""

from __future__ import annotations

from typing import Any

import typer

from workers.cli import app


def parsed(words: list[str]) -> dict[str, Any]:
    """The options of a command, read by the command line and not run."""
    group: Any = typer.main.get_command(app)
    name, rest = words[0], words[1:]
    context = group.make_context(name, list(rest))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, rest)
        context = group.make_context(name, list(rest), parent=context)
    found: dict[str, Any] = context.params
    return found
