"""Progress of a command that does not know how much there is."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def open_ended(console: Console) -> Progress:
    """A spinner, what the task's description counts, and the time."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    )
