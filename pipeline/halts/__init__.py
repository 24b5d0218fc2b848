"""Every code of a Halt: what it means, what to do, and whose fault it can be.

A code is never renamed. The table is rendered into docs/reference/codes.md.

Read ``code`` first: what a row of the table says. The rows are in ``workers``, ``commands`` and
``backfill``.
"""

from __future__ import annotations

from pipeline.halts.backfill import BACKFILL
from pipeline.halts.code import Fault, HaltCode
from pipeline.halts.commands import COMMANDS
from pipeline.halts.workers import WORKERS

__all__ = ["HALTS", "Fault", "HaltCode", "fault_of", "is_of_input", "remedy_of"]

HALTS: dict[str, HaltCode] = {**WORKERS, **COMMANDS, **BACKFILL}


def fault_of(code: str) -> Fault:
    """Whose fault a code can be. An unknown code is the stream's, so that it stops loudly."""
    return HALTS[code].fault if code in HALTS else Fault.STREAM


def is_of_input(code: str) -> bool:
    """Whether the code concerns the input of a command. An unknown code does not."""
    return code in HALTS and HALTS[code].is_of_input


def remedy_of(code: str) -> str:
    """The table's remedy for a code; for an unknown code, where to look."""
    return HALTS[code].remedy if code in HALTS else "see the worker's log"
