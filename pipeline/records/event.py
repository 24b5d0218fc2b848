"""What is published beside the stream's outcomes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One record for the topic of served images."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size_bytes(self) -> int:
        """Size of key, value and headers, without the record's framing."""
        named = sum(len(name.encode()) + len(value) for name, value in self.headers)
        return len(self.key) + len(self.value) + named
