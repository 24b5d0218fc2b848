"""How a decoder's child ended, as the errors of an image and of the pool."""

from __future__ import annotations

from pipeline.adapters.decode.wire import ChildEnd
from pipeline.errors import CODES, Halt, Reject

_OWN_WORDS = ("decode.formats: ", "known.lists: ")
"""Begin the child's own messages, which say what to do."""


class Ended(Exception):
    """A child ended while it held an image."""

    def __init__(self, end: ChildEnd) -> None:
        super().__init__(end)
        self.end = end


def reject(end: ChildEnd) -> Reject:
    tries = "" if end.final else ", twice"
    return Reject(
        end.code,
        f"decode: the decoder process ended on this file{tries} ({end.cause}); "
        f"{CODES[end.code].remedy}",
    )


def unavailable(reason: str) -> Halt:
    said = reason.removeprefix("RuntimeError: ")
    if said.startswith(_OWN_WORDS):
        return Halt("decode.unavailable", said)
    return Halt(
        "decode.unavailable",
        f"decode: no decoder process can be started ({reason}); check that Pillow is installed "
        "completely, and check decode.max_memory_mib and the limits on processes and memory",
    )
