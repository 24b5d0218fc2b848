"""Whether a store keeps the conditions of conditional writes, and how to do without."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import PipelineError, Retry, StoreDenied
from pipeline.ports import Folder, StoredFile

log = logging.getLogger(__name__)

_NO_ETAG = "0" * 32
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which conditions a store keeps. Some ignore both (GCS through the S3 protocol, old Ceph)."""

    create: bool = True
    """An object that exists is not created again."""
    replace: bool = True
    """An object that has changed is not replaced."""

    @property
    def kept(self) -> bool:
        return self.create and self.replace

    def __str__(self) -> str:
        broken = [name for name in ("create", "replace") if not getattr(self, name)]
        return f"ignores the conditions of: {', '.join(broken)}" if broken else "keeps conditions"


KEPT = Conditions()


def probe(folder: Folder) -> Conditions:
    """Try both conditions on an object of our own, and delete it. Blocks.

    Raises:
        StoreDenied, Retry: the store failed.
    """
    name = f"probe-{uuid.uuid4().hex}"
    try:
        return _probed(folder, name)
    finally:
        try:
            folder.delete(name)
        except PipelineError as failure:
            log.warning("%s stays in the output: %s", name, failure)


def _probed(folder: Folder, name: str) -> Conditions:
    try:
        # Nobody else knows the name, so an object that exists already is ours, and its answer was
        # lost.
        for _ in range(_ROUNDS):
            if folder.create(name, b"first") or folder.metadata(name) is not None:
                break
        else:
            raise Retry(
                "output.failed", f"{name}: the store says that it exists, and that it does not"
            )
        return Conditions(
            create=not folder.create(name, b"second"),
            replace=folder.replace(name, b"third", _NO_ETAG) is None,
        )
    except StoreDenied as refusal:
        if refusal.code != "output.unsupported":
            raise
        folder.write(name, b"first")
        return Conditions(create=False, replace=False)


class LookingFolder:
    """A folder on a store that ignores conditions: looks first, then writes. Implements
    ``pipeline.ports.Folder``.

    Of two writers that look at the same moment the later one wins. One driver alone makes no two
    such writers but for a worker that was believed dead, and names do not depend on the attempt, so
    a repeat writes the same rows to the same name.
    """

    def __init__(self, inner: Folder, conditions: Conditions) -> None:
        self._inner = inner
        self._conditions = conditions

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        if self._conditions.create:
            return self._inner.create(name, body, metadata)
        if self._inner.metadata(name) is not None:
            return False
        self._inner.write(name, body, metadata)
        return True

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = {}
    ) -> str | None:
        if self._conditions.replace:
            return self._inner.replace(name, body, etag, metadata)
        found = self._inner.read(name)
        if found is None or found.etag != etag:
            return None
        self._inner.write(name, body, metadata)
        written = self._inner.read(name)
        return written.etag if written is not None and written.body == body else None

    def read(self, name: str) -> StoredFile | None:
        return self._inner.read(name)

    def tail(self, name: str, length: int) -> bytes | None:
        return self._inner.tail(name, length)

    def metadata(self, name: str) -> Mapping[str, str] | None:
        return self._inner.metadata(name)

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
        self._inner.write(name, body, metadata)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return self._inner.names(prefix)

    def close(self) -> None:
        self._inner.close()
