"""The bound on bytes that a replica holds: bodies of requests, and images that they fetch."""

from __future__ import annotations

from collections import Counter

from pipeline.metrics import HTTP_HELD_BYTES
from pipeline.ports import Meter
from workers.serve.errors import overloaded

RETRY_S = 0.5
"""Wait that is asked of a client whose request found no room."""

KEYS_SHARE = 0.75
"""Part of the room that one key may hold where there are keys, so that no key keeps all others
out."""


class MemoryBudget:
    """Bytes that all requests together may hold. Belongs to one event loop.

    ``share`` is the part that the requests of one caller may hold.
    """

    def __init__(self, most_bytes: int, meter: Meter, share: float = 1.0) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._meter = meter
        self._share = share
        self._of: Counter[str] = Counter()

    def add(self, size_bytes: int, name: str) -> None:
        """Hold more for a caller; less if ``size_bytes`` is negative."""
        self.held_bytes += size_bytes
        self._of[name] += size_bytes
        if not self._of[name]:
            del self._of[name]
        self._meter.set(HTTP_HELD_BYTES, self.held_bytes)

    def require(self, size_bytes: int, name: str) -> None:
        """Refuse what would find no room now. Holds nothing.

        Raises:
            ApiError: 429: there is no room, or the caller holds its part already.
        """
        if self.held_bytes + size_bytes > self.most_bytes:
            raise overloaded(
                f"the server holds {self.held_bytes} bytes of requests against a bound of "
                f"{self.most_bytes}; try again",
                RETRY_S,
            )
        if self._of[name] + size_bytes > self._share * self.most_bytes:
            raise overloaded(
                f"the server holds {self._of[name]} bytes of this key's requests against "
                f"{int(self._share * self.most_bytes)} for one key; try again",
                RETRY_S,
            )

    def hold(self) -> Hold:
        """What one request holds: nothing yet."""
        return Hold(self)


class Hold:
    """The bytes that one request holds. ``name`` is its caller, set before the first byte."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self.name = ""

    def take(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            ApiError: 429: there is no room.
        """
        self.require(size_bytes)
        self._budget.add(size_bytes, self.name)
        self._bytes += size_bytes

    def require(self, size_bytes: int) -> None:
        """Refuse what would find no room now. Holds nothing.

        Raises:
            ApiError: as ``take``.
        """
        self._budget.require(size_bytes, self.name)

    def release(self, size_bytes: int) -> None:
        """Hold so many less."""
        self._budget.add(-size_bytes, self.name)
        self._bytes -= size_bytes

    def give_back(self) -> None:
        """Hold nothing more. Idempotent."""
        if self._bytes:
            self._budget.add(-self._bytes, self.name)
            self._bytes = 0
