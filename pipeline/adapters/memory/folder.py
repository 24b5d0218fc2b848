"""A folder of objects in memory, under the same contract as S3's."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping

from pipeline.ports import StoredFile


class MemoryFolder:
    """Implements ``pipeline.ports.Folder``."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> StoredFile | None:
        with self._lock:
            found = self._files.get(name)
        return None if found is None else StoredFile(found[0], _etag(found[0]))

    def tail(self, name: str, length: int) -> bytes | None:
        found = self.read(name)
        return None if found is None else found.body[-length:]

    def metadata(self, name: str) -> Mapping[str, str] | None:
        with self._lock:
            found = self._files.get(name)
        return None if found is None else {key.lower(): value for key, value in found[1].items()}

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        with self._lock:
            if name in self._files:
                return False
            self._files[name] = (body, dict(metadata))
        return True

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = {}
    ) -> str | None:
        with self._lock:
            found = self._files.get(name)
            if found is None or _etag(found[0]) != etag:
                return None
            self._files[name] = (body, dict(metadata))
        return _etag(body)

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
        with self._lock:
            self._files[name] = (body, dict(metadata))

    def delete(self, name: str) -> None:
        with self._lock:
            self._files.pop(name, None)

    def names(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            found = sorted(name for name in self._files if name.startswith(prefix))
        return iter(found)

    def close(self) -> None:
        """Nothing to release."""


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
