"""How images are collected into batches: the settings, and a lane's share of a batch."""

from __future__ import annotations

from pydantic import Field

from pipeline.policy import Policy, Tier

DEFAULT_SIZE = 32
"""A CPU's ``batch.max_size``, where it is neither set nor fitted to a device."""

SMALLEST_SIZE = 8
"""Smallest batch of a lane. A smaller one takes hardly less time."""


def lane_share(largest: int, lanes: int) -> int:
    """Images in a batch when ``lanes`` batches are computed at a time. All lanes together have
    ``largest`` images, so that a batch takes about as long as one batch on all threads would. No
    lane has fewer than ``SMALLEST_SIZE``."""
    return min(largest, max(SMALLEST_SIZE, -(-largest // lanes)))


class BatchPolicy(Policy):
    """How images are collected into batches for the device."""

    tier = Tier.TUNING

    max_size: int | None = Field(
        None,
        description="Largest batch. Default: 128 on a GPU, 32 on a CPU. GPU: 64 to 512 works "
        "best. CPU: the total over all lanes; each lane takes at least 8. Clipstream halves the "
        "size when the device runs out of memory.",
        gt=0,
        le=4096,
    )
    max_wait_s: float = Field(
        0.02,
        description="Seconds that an image waits for others to fill its batch while the device "
        "(on a CPU: a lane) is idle. 0 encodes it at once.",
        ge=0,
        le=60,
    )

    @property
    def largest(self) -> int:
        """``max_size``, or its default on a CPU."""
        return self.max_size or DEFAULT_SIZE
