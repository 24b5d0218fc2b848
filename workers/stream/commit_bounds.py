"""How much one commit may hold: what the settings allow, less after a commit that failed.

Everything in a commit must be acknowledged within ``delivery.delivery_timeout_s``. On a link too
slow for it, the same batch would be tried again for ever; so a failed batch comes again in halves.
"""

from __future__ import annotations

from pipeline.commit.window import Batch


class CommitBounds:
    """The bounds of the next commit. Down to 1 each, which lets a single record through."""

    def __init__(self, max_outcomes: int, max_bytes: int) -> None:
        self._max_outcomes = self.outcomes = max_outcomes
        self._max_bytes = self.bytes = max_bytes

    def failed(self, batch: Batch) -> None:
        """The batch was not committed: the next one is at most half of it."""
        if not batch.outcomes:
            return  # Offsets alone: nothing that could be too much.
        self.outcomes = max(1, min(self.outcomes, len(batch.outcomes)) // 2)
        if batch.size_bytes:  # what was skipped has none, and says nothing of how many are too many
            self.bytes = max(1, min(self.bytes, batch.size_bytes) // 2)

    def succeeded(self) -> None:
        self.outcomes = min(self._max_outcomes, self.outcomes * 2)
        self.bytes = min(self._max_bytes, self.bytes * 2)
