"""What can be set about reading an object."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.policy import Policy, Tier

CHANCES = 2
"""An object is given up only after failing this often beside a store that works. The last attempt
begun in an outage can end after it and then seems to be the object's own failure; a second cannot.
Each attempt may take its share of the deadline, so none begins when less than that is left."""


class FetchPolicy(Policy):
    """How an object is read."""

    tier = Tier.TUNING

    max_bytes: Annotated[int, Tier.EVERYDAY] = Field(
        32 * 1024 * 1024,
        description="An object of more bytes is dead-lettered as fetch.too_large; no more than "
        "this is held in memory. A file that has more bytes once its Content-Encoding is undone is "
        "dead-lettered as decode.too_large.",
        gt=0,
    )
    deadline_s: float = Field(
        30.0,
        description="Seconds within which an object must arrive: all attempts and the waits "
        "between them, while the store serves other objects. One attempt may take half of it, and "
        "none begins in the second half. "
        "Waiting for a free slot or for the store to come back does not count.",
        gt=0,
    )
    max_refusals: Annotated[int, Tier.EXPERT] = Field(
        3,
        description="An object that the store refuses (403, no such bucket, a key of encryption "
        "that the worker lacks) this often, while it serves others, is dead-lettered before the "
        "deadline. An outage can charge an object with one refusal, so the least is 2.",
        ge=2,
    )
    max_open_objects: int = Field(
        64,
        description="Objects that each worker holds at a time, from the first byte read until "
        "they are decoded; times fetch.max_bytes this bounds memory.",
        gt=0,
    )

    @property
    def attempt_s(self) -> float:
        """Seconds that one attempt may take."""
        return self.deadline_s / CHANCES
