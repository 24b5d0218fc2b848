"""The identity of what an embedding is of, whoever computed it."""

from __future__ import annotations

import hashlib
import json

from pipeline.records import Classification

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def content_id(outcome: Classification) -> str:
    """128 bits in hexadecimal: SHA-256, cut, over URI, version or else ETag, model, revision,
    precision, decode mode and crop, as a JSON array.

    The stream, the server and a backfill give the same id to the same object seen in the same way,
    so an index that upserts by it holds one vector an object.
    """
    looked = outcome.looked
    model = looked.model
    version = outcome.version_id if outcome.version_id not in (None, "null") else outcome.etag
    named = _encode(
        [
            outcome.ref.uri,
            version,
            model.name,
            model.revision,
            model.precision,
            looked.decode_mode,
            looked.decode_crop,
        ]
    )
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:32]
