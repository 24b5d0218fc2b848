"""Keeps what was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The values that were used last, as many as weigh ``most`` together. Not thread-safe."""

    def __init__(self, most: int, weight: Callable[[Value], int] = lambda _: 1) -> None:
        self._most = most
        self._weight = weight
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self.weight = 0

    def get(self, key: Key) -> Value | None:
        """The value, which counts as used; None if it is not kept."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value. One that is heavier than ``most`` is not kept."""
        if (replaced := self._values.pop(key, None)) is not None:
            self.weight -= self._weight(replaced)
        self._values[key] = value
        self.weight += self._weight(value)
        while self.weight > self._most:
            _, oldest = self._values.popitem(last=False)
            self.weight -= self._weight(oldest)

    def __len__(self) -> int:
        return len(self._values)
