"""Clipstream's own format: one reference, or a list of them.

::

    {"bucket": "photos", "key": "2026/cat 1.jpg", "version_id": "…", "etag": "…", "id": "…",
     "label_sets": ["moderation"], "tenant": "…", "metadata": {…}}

``uri`` (``s3://bucket/key``) may replace bucket and key, and ``label_set`` a list of one name. An
image on a web server has a ``uri`` (``https://host/path``) and perhaps a ``query``.

Other fields are ignored, except those that describe an event (``EVENT_FIELDS``): an object with
such a field is in another format, and may be the event of a deletion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.errors import Reject
from pipeline.formats import https_url, strict_json
from pipeline.formats.fields import Fields, invalid, kind, unknown_format
from pipeline.formats.reference import (
    Entries,
    Format,
    Reference,
    check_bucket,
    check_etag,
    check_key,
    check_version_id,
)
from pipeline.records import NO_JSON, JsonValue

MAX_METADATA_BYTES = 4096
"""Limit of the metadata as compact JSON in UTF-8."""
MAX_ID_BYTES = 1024
MAX_TENANT_BYTES = 128

EVENT_FIELDS = frozenset(
    {
        *("action", "detailtype", "event", "eventname", "eventsource", "eventtype"),
        *("notification", "notificationtype", "operation"),
    }
)
"""Fields, in lower case without ``_`` and ``-``, with which other formats say what happened to an
object. A reference only names an object and never has such a field."""

_SCHEME = "s3://"
# Ids and tenants become attributes of events. CloudEvents allows no control characters there.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _recognises(document: JsonValue) -> bool:
    return isinstance(document, list) or (
        isinstance(document, dict) and ("uri" in document or {"bucket", "key"} <= document.keys())
    )


def _entries(document: JsonValue) -> Entries:
    return Entries(document, "") if isinstance(document, list) else Entries([document])


def _read(entry: JsonValue, where: str) -> Reference:
    fields = Fields.of(entry, where)
    _refuse_events(fields)
    location = _location(fields)
    return Reference(
        location.bucket,
        location.key,
        version_id=check_version_id(fields.optional_text("version_id"), fields.place("version_id")),
        etag=check_etag(fields.optional_text("etag"), fields.place("etag")),
        id=_attribute(fields, "id", MAX_ID_BYTES),
        tenant=_attribute(fields, "tenant", MAX_TENANT_BYTES),
        label_sets=_label_sets(fields),
        metadata=_metadata(fields),
        scheme=location.scheme,
        query=location.query,
    )


def _refuse_events(fields: Fields) -> None:
    for name, value in fields.value.items():
        if value is not None and name.replace("_", "").replace("-", "").lower() in EVENT_FIELDS:
            raise unknown_format(
                fields.place(name[:40]),
                "is a field of an event, perhaps of a deletion, in no format that is read; send "
                "references without this field, or a format of docs/input-formats.md",
            )


class _Location(NamedTuple):
    bucket: str
    key: str
    scheme: str = "s3"
    query: str | None = None


def _location(fields: Fields) -> _Location:
    uri = fields.optional_text("uri")
    if uri is None:
        bucket, key = fields.text("bucket"), fields.text("key")
        return _Location(
            check_bucket(bucket, fields.place("bucket")), check_key(key, fields.place("key"))
        )
    where = fields.place("uri")
    if fields.get("bucket") is not None or fields.get("key") is not None:
        raise invalid(where, "comes together with bucket or key; send one or the other")
    if uri[: len(https_url.PREFIX)].lower() == https_url.PREFIX:
        return _on_the_web(fields, uri, where)
    if not uri.startswith(_SCHEME):
        raise invalid(
            where,
            "is neither an s3:// nor an https:// URI; send s3://bucket/key, https://host/path, or "
            "bucket and key",
        )
    # Everything after the bucket is the key, unchanged: "?", "#" and "%" are characters of keys.
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    return _Location(check_bucket(bucket, where), check_key(key, where))


def _on_the_web(fields: Fields, uri: str, where: str) -> _Location:
    """The query may stand in the URI, or in a field of its own, as in dead letters."""
    url = https_url.parse(uri, where)
    if fields.get("version_id") is not None:
        raise invalid(
            fields.place("version_id"), "has no meaning for an https:// URI; leave it out"
        )
    given = https_url.check_query(fields.optional_text("query"), fields.place("query"))
    if url.query is not None and given is not None:
        raise invalid(fields.place("query"), "comes together with a query in uri; send one of them")
    query = url.query if given is None else given
    return _Location(url.host, url.path, https_url.SCHEME, query)


def _attribute(fields: Fields, name: str, max_bytes: int) -> str | None:
    value = fields.optional_text(name)
    if value is None:
        return None
    size = len(value.encode())
    if not 1 <= size <= max_bytes:
        raise invalid(
            fields.place(name), f"is {size:,} UTF-8 bytes long (1 to {max_bytes:,}); shorten it"
        )
    if _CONTROL.search(value):
        raise invalid(fields.place(name), "holds a control character; leave it out")
    return value


def _label_sets(fields: Fields) -> tuple[str, ...]:
    one, several = fields.optional_text("label_set"), fields.get("label_sets")
    where = fields.place("label_sets")
    if one is not None and several is not None:
        raise invalid(where, "comes together with label_set; send one or the other")
    if one is not None:
        return (one,)
    if several is None:
        return ()
    if not isinstance(several, list):
        raise invalid(where, f"is {kind(several)}; send a list of names")
    names: dict[str, None] = {}
    for index, name in enumerate(several):
        if not isinstance(name, str):
            raise invalid(f"{where}[{index}]", f"is {kind(name)}; send a name")
        names[name] = None
    return tuple(names)


def _metadata(fields: Fields) -> Mapping[str, JsonValue]:
    value = fields.get("metadata")
    if value is None:
        return NO_JSON
    if not isinstance(value, dict):
        raise invalid(fields.place("metadata"), f"is {kind(value)}; send an object")
    size = len(strict_json.dump(value))
    if size > MAX_METADATA_BYTES:
        raise Reject(
            "reference.metadata_too_large",
            f"{fields.place('metadata')}: is {size:,} bytes as JSON (limit "
            f"{MAX_METADATA_BYTES:,}); carry an identifier instead and join downstream",
        )
    return value


NATIVE = Format("native reference", _recognises, _entries, _read)
