"""Keeps embeddings of images on disk, so that a second look at the same sample is fast."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.records import Vector

logger = logging.getLogger(__name__)

_KEY_BYTES = hashlib.sha256().digest_size
_PLACE = struct.Struct("<HH")
"""A view's place among those of its image, and how many they are."""
_SUM_BYTES = 8


class EmbeddingFile:
    """The embeddings of an image's views by the SHA-256 of the image's bytes, of one way of seeing
    images.

    ``identity`` is everything that an embedding depends on beside those bytes: it chooses the file.
    ``folder`` may begin with ``~``. A file is records of one size, one a view: the key, the view's
    place and the number of views, the embedding as little-endian float32, and the first bytes of a
    SHA-256 of these. Records that are damaged or cut are passed over. No fault of the disk is
    fatal: an embedding that is not found is made again.
    """

    def __init__(self, folder: Path, identity: str, dimension: int) -> None:
        digest = hashlib.sha256(identity.encode()).hexdigest()
        self._path = folder / f"images-{digest[:32]}.v2"
        self._size = _KEY_BYTES + _PLACE.size + 4 * dimension + _SUM_BYTES
        self._known = self._read()
        self._fresh: list[bytes] = []

    def get(self, sha256: str) -> Vector | None:
        """The embeddings of an image's views: [views, dimension]."""
        return self._known.get(bytes.fromhex(sha256))

    def add(self, sha256: str, embeddings: Vector) -> None:
        """Remember the embeddings [views, dimension] of an image; ``close`` writes them."""
        key = bytes.fromhex(sha256)
        for place, embedding in enumerate(embeddings.astype("<f4")):
            body = key + _PLACE.pack(place, len(embeddings)) + embedding.tobytes()
            self._fresh.append(body + _sum(body))

    def close(self) -> None:
        """Append what is new."""
        if not self._fresh:
            return
        try:
            path = self._located()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # A record that another process could not finish would shift all behind it.
                length = file.seek(0, os.SEEK_END)
                file.truncate(length - length % self._size)
                file.write(b"".join(self._fresh))
        except OSError as error:
            logger.warning(
                "%s: cannot be written (%s); the images are embedded again next time",
                self._path,
                error.strerror,
            )
        self._fresh.clear()

    def _read(self) -> Mapping[bytes, Vector]:
        try:
            content = self._located().read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            logger.warning("%s: cannot be read (%s)", self._path, error.strerror)
            return {}
        found: dict[bytes, dict[tuple[int, int], Vector]] = {}
        for start in range(0, len(content) - self._size + 1, self._size):
            body = content[start : start + self._size - _SUM_BYTES]
            if content[start + len(body) : start + self._size] == _sum(body):
                place, count = _PLACE.unpack_from(body, _KEY_BYTES)
                views = found.setdefault(body[:_KEY_BYTES], {})
                views[place, count] = np.frombuffer(body, "<f4", offset=_KEY_BYTES + _PLACE.size)
        return {
            key: np.stack([views[place, count] for place in range(count)])
            for key, views in found.items()
            for _, count in [min(views)]
            if all((place, count) in views for place in range(count))
        }

    def _located(self) -> Path:
        try:
            return self._path.expanduser()
        except RuntimeError as error:  # a container's user may have no home
            raise FileNotFoundError(errno.ENOENT, str(error)) from error


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_SUM_BYTES]
