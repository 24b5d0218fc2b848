"""The identity of what an embedding is of, whoever computed it."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from pipeline.records import Looked, ModelIdentity

LENGTH = 32

_UNVERSIONED = (None, "null")
"""Version ids of objects that their bucket may replace under the same version id."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def content_id(
    looked: Looked, uri: str | None, etag: str | None = None, version_id: str | None = None
) -> str:
    """128 bits in hexadecimal: SHA-256, cut, over URI, version, model, revision, precision, decode
    mode and crop, as a JSON array.

    The version is the object's version id, else its ETag, else ``sha256:`` and the hash of its
    bytes. ``uri`` has no query; None stands for bytes without a name, whose URI is that hash too.

    The stream, the server and a backfill give the same id to the same object seen in the same way,
    so an index that upserts by it holds one vector an object.
    """
    version = etag if version_id in _UNVERSIONED else version_id
    if uri is None or version is None:
        version = f"sha256:{looked.sha256}"
    name = (
        f"[{_encode(uri or version)},{_encode(version)},"
        f"{_seen_by(looked.model, looked.decode_mode, looked.decode_crop)}]"
    )
    return hashlib.sha256(name.encode()).hexdigest()[:LENGTH]


@lru_cache(maxsize=16)  # a worker has one model and one mode
def _seen_by(model: ModelIdentity, *decode: str) -> str:
    return _encode([model.name, model.revision, model.precision, *decode])[1:-1]
