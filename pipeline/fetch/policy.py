"""Settings for reading objects."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.policy import Policy, Tier

CHANCES = 2
"""Failures that an object needs, at the least, before it is given up while its store works. An
attempt that began in an outage can end after the outage and then looks like the object's own
failure; a second attempt cannot. Each attempt may take its share of the deadline, so no attempt
begins when less time is left."""


class FetchPolicy(Policy):
    """How an object is read."""

    tier = Tier.TUNING

    max_bytes: Annotated[int, Tier.EVERYDAY] = Field(
        32 * 1024 * 1024,
        description="Largest object, in bytes. A larger object is dead-lettered as "
        "fetch.too_large, and no more than this many bytes of it are held in memory. A file that "
        "exceeds the limit once its Content-Encoding is undone is dead-lettered as "
        "decode.too_large.",
        gt=0,
    )
    deadline_s: float = Field(
        30.0,
        description="Seconds within which an object must arrive while the store serves other "
        "objects. All attempts and the waits between them count. Waiting for a free slot does not "
        "count, nor does waiting for the store to come back. One attempt may take half of the "
        "deadline, and no attempt begins in its second half.",
        gt=0,
    )
    max_refusals: Annotated[int, Tier.EXPERT] = Field(
        3,
        description="Refusals after which an object is dead-lettered before its deadline, while "
        "the store serves other objects. A refusal is a 403, a missing bucket, or an encryption "
        "key that the worker may not use. At least 2, because an outage can charge an object with "
        "one refusal.",
        ge=2,
    )
    max_open_objects: int = Field(
        64,
        description="Objects that each worker holds at a time, from the first byte read until the "
        "object is decoded. Memory for objects is at most this number times fetch.max_bytes.",
        gt=0,
    )

    @property
    def attempt_s(self) -> float:
        """Seconds that one attempt may take."""
        return self.deadline_s / CHANCES
