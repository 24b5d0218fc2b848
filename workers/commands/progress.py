"""Progress of a command that does not know the total."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def open_ended(console: Console) -> Progress:
    """A spinner, the task's description with its count, and the elapsed time."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    )
