"""A bounded room that several callers share fairly. No I/O."""

from __future__ import annotations

from collections import Counter

LOWER_SHARE = 0.05
"""Part of the room that lower levels always have together, so that none of them starves."""


class Shares:
    """Places in hand, by caller.

    While there are free places, everybody gets them. While there are none, a caller that holds less
    than its share (all places ÷ callers that hold any) still gets places, and one that holds more
    is refused. So a caller that has filled the room alone cannot keep the next caller out. The room
    then holds more than its bound until the first caller's places come back: at most twice as many.

    A lower level (``pipeline.priority``) gets what the levels above leave. The levels above do not
    see what it holds.
    """

    def __init__(self) -> None:
        self._held: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        self._sums = {False: 0, True: 0}
        self.total = 0
        """Places in hand."""

    def room_for(self, name: str, wanted: int, bound: int, *, lower: bool = False) -> bool:
        """Whether ``name`` may take ``wanted`` places where ``bound`` are all.

        A caller that holds nothing is taken while any place is free, however many it wants:
        otherwise a request larger than a share would wait for an idle server.
        """
        held, mine = self._held[lower], self._sums[lower]
        others = self.total if lower else mine
        if others + wanted <= bound or (not held[name] and others < bound):
            return True
        if lower:
            bound = max(1, int(bound * LOWER_SHARE))
            if not mine:
                return True
        share = bound / (len(held) + (name not in held))
        return held[name] + wanted <= share and mine + wanted <= 2 * bound

    def take(self, name: str, places: int, *, lower: bool = False) -> None:
        """Hold more places."""
        self._held[lower][name] += places
        self._sums[lower] += places
        self.total += places

    def give_back(self, name: str, places: int, *, lower: bool = False) -> None:
        """Hold so many less."""
        held = self._held[lower]
        held[name] -= places
        if not held[name]:
            del held[name]
        self._sums[lower] -= places
        self.total -= places
