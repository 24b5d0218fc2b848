"""How much one commit may hold: what the settings allow, and less after a failed commit.

Everything in a commit must be acknowledged within ``delivery.delivery_timeout_s``. On a link that
is too slow for this, the same batch would be tried for ever. So the next batch after a failure is
half as large.
"""

from __future__ import annotations

from pipeline.commit.window import Batch


class CommitBounds:
    """The bounds of the next commit. The smallest bound is 1, which still lets a single record
    pass."""

    def __init__(self, max_outcomes: int, max_bytes: int) -> None:
        self._max_outcomes = self.outcomes = max_outcomes
        self._max_bytes = self.bytes = max_bytes

    def failed(self, batch: Batch) -> None:
        """The batch was not committed: the next batch is at most half as large."""
        if not batch.outcomes:
            return  # Offsets alone cannot be too much.
        self.outcomes = max(1, min(self.outcomes, len(batch.outcomes)) // 2)
        if (
            batch.size_bytes
        ):  # skipped references have no bytes, so they say nothing about this bound
            self.bytes = max(1, min(self.bytes, batch.size_bytes) // 2)

    def succeeded(self) -> None:
        self.outcomes = min(self._max_outcomes, self.outcomes * 2)
        self.bytes = min(self._max_bytes, self.bytes * 2)
