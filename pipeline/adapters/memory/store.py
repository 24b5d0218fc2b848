"""An object store in memory, under the same contract as S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.errors import Reject, StoreDenied
from pipeline.ports import ListedObject, OnAnswer
from pipeline.records import ObjectBody

_MAX_KEY_BYTES = 1024


@dataclass(slots=True)
class _Version:
    stored: ObjectBody
    deleted: bool = False
    archived: bool = False


@dataclass(slots=True)
class _Bucket:
    versioned: bool
    objects: dict[str, list[_Version]] = field(default_factory=dict)


class MemoryStore:
    """Implements ``pipeline.ports.ObjectStore``; lists and writes like ``S3Admin``.

    Knows versions, delete markers and archived objects. It has no other failures: tests that need
    an outage wrap it.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._versions = 0

    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None:
        self._buckets.setdefault(bucket, _Bucket(versioned)).versioned = versioned

    def put(
        self, bucket: str, key: str, body: bytes, content_encoding: str | None = None
    ) -> ObjectBody:
        """Write an object. Returns it as a read would."""
        if not 1 <= len(key.encode()) <= _MAX_KEY_BYTES:
            raise ValueError(f"memory store: a key has 1 to {_MAX_KEY_BYTES} bytes")
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        stored = ObjectBody(body, etag, self._version_id(bucket), content_encoding)
        return self._add(bucket, key, _Version(stored))

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, or hide it behind a delete marker if versions are kept."""
        if self._bucket(bucket).versioned:
            marker = ObjectBody(b"", None, self._version_id(bucket))
            self._add(bucket, key, _Version(marker, deleted=True))
        else:
            self._bucket(bucket).objects.pop(key, None)

    def archive(self, bucket: str, key: str) -> None:
        """Move the object's current version to an archive tier."""
        self._bucket(bucket).objects[key][-1].archived = True

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        for key, versions in sorted(self._bucket(bucket).objects.items()):
            newest = versions[-1]
            if key.startswith(prefix) and not newest.deleted:
                yield ListedObject(bucket, key, newest.stored.etag, len(newest.stored.body))

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: OnAnswer,
    ) -> ObjectBody:
        versions = self._bucket(bucket).objects.get(key, [])
        if version_id is None:
            versions = versions[-1:]
        else:
            versions = [found for found in versions if _is(found, version_id)]
        if not versions or versions[0].deleted:
            raise Reject("fetch.not_found", "memory store: there is no such object or version")
        stored = versions[0].stored
        if version_id is None and etag not in (None, stored.etag):
            raise Reject("fetch.superseded", "memory store: the object has another ETag by now")
        if versions[0].archived:
            raise Reject("fetch.archived", "memory store: the object is archived; restore it")
        if len(stored.body) > max_bytes:
            raise Reject(
                "fetch.too_large",
                f"memory store: {len(stored.body):,} bytes exceed fetch.max_bytes = {max_bytes:,}",
            )
        if not stored.body:
            raise Reject("fetch.empty", "memory store: the object has no bytes")
        await on_answer(len(stored.body))
        return stored

    async def close(self) -> None:
        """Does nothing: the objects stay."""

    def _bucket(self, bucket: str) -> _Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            raise StoreDenied("fetch.no_bucket", f"memory store: bucket {bucket!r} does not exist")
        return found

    def _version_id(self, bucket: str) -> str | None:
        if not self._bucket(bucket).versioned:
            return None
        self._versions += 1
        return f"v{self._versions}"

    def _add(self, bucket: str, key: str, version: _Version) -> ObjectBody:
        found = self._bucket(bucket)
        kept = found.objects.get(key, []) if found.versioned else []
        found.objects[key] = [*kept, version]
        return version.stored


def _is(version: _Version, version_id: str) -> bool:
    """S3 calls the version of an object without versions ``null``."""
    return (version.stored.version_id or "null") == version_id
