"""Settings of lists of known pictures."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.policy import Policy, Tier


class KnownPolicy(Policy):
    """Which lists of known pictures the stream compares images with."""

    tier = Tier.TUNING

    lists: tuple[Path, ...] = Field(
        (),
        description="YAML files with the header of one list of known pictures each, or folders of "
        "such files. An image that a list has gets the list's action (docs/known-pictures.md).",
    )
    reload_interval_s: float = Field(
        10.0,
        description="Seconds between two looks at the files. When two looks in a row see the same "
        "change, it takes effect without a restart. Invalid files change nothing; the log and the "
        "metrics report them. 0: a change takes effect at the next start.",
        ge=0,
    )
