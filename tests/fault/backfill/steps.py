"""The steps of a shard's life at which a worker may die or stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pipeline.ports import Folder, StoredFile

BEFORE_ERRORS, AFTER_ERRORS = "before errors", "after errors"
BEFORE_DATA, AFTER_DATA = "before data", "after data"
STEPS = (BEFORE_ERRORS, AFTER_ERRORS, BEFORE_DATA, AFTER_DATA)


class SteppedFolder:
    """A folder that says when a step is reached, in the thread that writes. Implements
    ``pipeline.ports.Folder``."""

    def __init__(self, inner: Folder, reached: Callable[[str, str], object]) -> None:
        """``reached`` gets the step, and the name of the file that is written."""
        self._inner = inner
        self._reached = reached

    def read(self, name: str) -> StoredFile | None:
        return self._inner.read(name)

    def tail(self, name: str, length: int) -> bytes | None:
        return self._inner.tail(name, length)

    def metadata(self, name: str) -> Mapping[str, str] | None:
        return self._inner.metadata(name)

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        self._tell("before", name)
        created = self._inner.create(name, body, metadata)
        self._tell("after", name)
        return created

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = {}
    ) -> str | None:
        return self._inner.replace(name, body, etag, metadata)

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
        self._tell("before", name)
        self._inner.write(name, body, metadata)
        self._tell("after", name)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return self._inner.names(prefix)

    def close(self) -> None:
        self._inner.close()

    def _tell(self, when: str, name: str) -> None:
        step = f"{when} {name.partition('/')[0]}"
        if step in STEPS:
            self._reached(step, name)
