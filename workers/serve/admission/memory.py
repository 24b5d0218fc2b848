"""The bound on bytes that a replica holds: bodies of requests, and images that they fetch."""

from __future__ import annotations

from workers.serve.errors import ApiError

RETRY_S = 0.5
"""Wait that is asked of a client whose request found no room."""


class MemoryBudget:
    """Bytes that all requests together may hold. Belongs to one event loop."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0

    def hold(self) -> Hold:
        """What one request holds: nothing yet."""
        return Hold(self)


class Hold:
    """The bytes that one request holds."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            ApiError: 429: there is no room.
        """
        if self._budget.held_bytes + size_bytes > self._budget.most_bytes:
            raise ApiError(
                429,
                "overloaded",
                f"the server holds {self._budget.held_bytes} bytes of requests against a bound of "
                f"{self._budget.most_bytes}; try again",
                retry_after_s=RETRY_S,
            )
        self._budget.held_bytes += size_bytes
        self._bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Hold so many less."""
        self._budget.held_bytes -= size_bytes
        self._bytes -= size_bytes

    def give_back(self) -> None:
        """Hold nothing more. Idempotent."""
        self._budget.held_bytes -= self._bytes
        self._bytes = 0
