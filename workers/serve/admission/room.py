"""How many images a replica has in hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workers.serve.caller import Caller
from workers.serve.errors import ApiError


class Room:
    """Room for images between their request's admission and its answer. Belongs to one event
    loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.images = 0

    @contextmanager
    def taken(self, images: int, caller: Caller) -> Iterator[None]:
        """Room for so many images during the block. A request larger than the whole room is taken
        while nothing else is in hand.

        Raises:
            ApiError: 429: there is no room.
        """
        if self.images and self.images + images > self._most:
            raise ApiError(429, "overloaded", "the server is busy; try again", retry_after_s=0.5)
        self.images += images
        try:
            yield
        finally:
            self.images -= images
