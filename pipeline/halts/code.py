"""What a code of a Halt is: whose fault, what it means, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a halt can be, which decides what the halt stops."""

    STREAM = "stream"
    """The whole stream's fault, or its settings': every worker would meet it. The driver stops."""
    NODE = "node"
    """One machine's own fault, such as a missing file. The place of the worker that met it stays
    empty and is tried again; the other workers go on. A code that can be either kind counts as a
    node's, because a wrong guess then costs one place and not the stream."""
    COMMAND = "command"
    """The fault of a command's input: no worker meets it."""


@dataclass(frozen=True, slots=True)
class HaltCode:
    """One row of the table."""

    fault: Fault
    meaning: str
    remedy: str
    is_of_input: bool = False
    """Whether the code concerns the input of a command: its arguments, its settings, and the files
    that they name. The command then ends as it does after a mistyped argument."""


def stream(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    """A code that is the stream's fault."""
    return HaltCode(Fault.STREAM, meaning, remedy, of_input)


def node(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    """A code that is a node's fault, or can be."""
    return HaltCode(Fault.NODE, meaning, remedy, of_input)


def command(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    """A code that is the fault of a command's input."""
    return HaltCode(Fault.COMMAND, meaning, remedy, of_input)
