"""The reference page of the command line, from the same texts that ``--help`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from deploy.dev.reference.markdown import NOTICE, table
from workers.cli import app


def render() -> str:
    """The page as Markdown."""
    root = get_command(app)
    return (
        f"# Command line\n\n{NOTICE}\n\n{root.help}\n\n"
        "`clipstream --version` prints the version. Every command has `--help`. "
        "Exit codes: [operations.md](../operations.md#exit-codes). "
        "Settings: [settings.md](settings.md).\n" + "".join(_commands(root, "clipstream"))
    )


def _commands(group: Any, path: str) -> Iterator[str]:
    """Sections of the commands of a group, those of groups within it included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield _section(command, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    records = [each.get_help_record(context) for each in command.get_params(context)]
    # A positional argument's type says less than its name.
    rows = [(f"`{name.split(' <')[0]}`", text) for name, text in records if name != "--help"]
    options = f"\n{table(('Option', 'Meaning'), rows)}" if rows else ""
    return f"\n## {path}\n\n```\n{usage}\n```\n\n{command.help}\n{options}"
