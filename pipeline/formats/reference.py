"""The types that every format is read into, and the checks of buckets, keys, versions and ETags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pipeline.formats.fields import invalid
from pipeline.records import NO_JSON, JsonValue, Removal

MAX_KEY_BYTES = 1024
"""S3's limit, in UTF-8."""
MAX_VERSION_ID_CHARACTERS = 1024
"""S3's limit. S3's version ids are URL-ready, so they are ASCII."""
MAX_ETAG_CHARACTERS = 256

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_ACCESS_POINT_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap")
# Version ids and ETags become part of a request's URL or headers. A space or a line break there
# would change what the request means.
_VERSION_ID = re.compile(r"[\x21-\x7e]+")
_ETAG = re.compile(r"[\x21\x23-\x7e]+")
_SHOWN_CHARACTERS = 70


class SkipReason(StrEnum):
    """Why a record or an entry holds nothing to classify. A closed set, as it is a metric label."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TEST_EVENT = "test_event"
    DELETED = "deleted"
    OTHER_EVENT = "other_event"
    FOLDER = "folder"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a message says about one object, before a route decides how to classify the object.

    ``label_sets`` and ``tenant`` are what the sender asks for. ``scheme`` and ``query`` are as in
    ``pipeline.records.ImageRef``.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    id: str | None = None
    tenant: str | None = None
    label_sets: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] = field(default_factory=lambda: NO_JSON)
    scheme: str = "s3"
    query: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Deletion:
    """A notification that an object was deleted.

    ``read`` reads which object; it raises ``Reject``. It is called only where removals are
    published. Elsewhere a deletion is skipped, whatever is wrong with it.
    """

    read: Callable[[], Removal]


Read = Reference | SkipReason | Deletion
"""What one entry says."""


@dataclass(frozen=True, slots=True)
class Entries:
    """A document's entries: each is one reference or event, not yet read.

    ``list_name`` is the name of the list that holds the entries. It is empty if the document itself
    is the list, and None if the document is the only entry.
    """

    items: Sequence[JsonValue]
    list_name: str | None = None

    def where(self, index: int) -> str:
        return "" if self.list_name is None else f"{self.list_name}[{index}]"

    def alone(self, index: int) -> JsonValue:
        """Return a document of the same format that holds only this entry."""
        item = self.items[index]
        if self.list_name is None:
            return item
        return {self.list_name: [item]} if self.list_name else [item]


@dataclass(frozen=True, slots=True)
class Format:
    """An input format.

    ``recognises`` says whether a document is in this format. ``entries`` splits the document; it
    raises ``Reject`` for the whole record. ``read`` takes one entry and its place in the record; it
    raises ``Reject`` for this entry.
    """

    name: str
    recognises: Callable[[JsonValue], bool]
    entries: Callable[[JsonValue], Entries]
    read: Callable[[JsonValue, str], Read]


def check_bucket(bucket: str, where: str) -> str:
    """Accept the name of a general purpose bucket. Refuse ARNs, access points and URLs.

    Rules: AWS, "General purpose bucket naming rules". Names from before 2018 with capitals or
    underscores are refused.
    """
    well_formed = (
        _BUCKET.fullmatch(bucket)
        and ".." not in bucket
        and not _IPV4.fullmatch(bucket)
        and not bucket.endswith(_ACCESS_POINT_SUFFIXES)
    )
    if not well_formed:
        raise invalid(
            where,
            f"{bucket[:_SHOWN_CHARACTERS]!r} is not a bucket's name; send 3 to 63 lower-case "
            "letters, digits, dots and hyphens, and no ARN, access point or URL",
        )
    return bucket


def check_key(key: str, where: str) -> str:
    """Accept any key that S3 can hold. A key is opaque: neither a path nor a URL."""
    size = len(key.encode())
    if not 1 <= size <= MAX_KEY_BYTES:
        raise invalid(where, f"is {size:,} UTF-8 bytes long (1 to {MAX_KEY_BYTES:,}); mend the key")
    return key


def check_version_id(version_id: str | None, where: str) -> str | None:
    if version_id is None:
        return None
    if len(version_id) > MAX_VERSION_ID_CHARACTERS or not _VERSION_ID.fullmatch(version_id):
        raise invalid(
            where,
            f"is not a version id of 1 to {MAX_VERSION_ID_CHARACTERS:,} visible ASCII characters; "
            "send it as the store returned it",
        )
    return version_id


def check_etag(etag: str | None, where: str) -> str | None:
    """Accept an ETag with or without its quotes. Return the ETag without quotes."""
    if etag is None:
        return None
    bare = etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag
    if len(bare) > MAX_ETAG_CHARACTERS or not _ETAG.fullmatch(bare):
        raise invalid(
            where,
            f"is not an ETag of 1 to {MAX_ETAG_CHARACTERS} visible ASCII characters; send it as "
            "the store returned it",
        )
    return bare


def moment(sent: str | None) -> str | None:
    """Write a message's time as RFC 3339 in UTC with milliseconds. None for what is no time with a
    zone."""
    try:
        parsed = datetime.fromisoformat(sent or "")
        if parsed.tzinfo is None:
            return None
        in_utc = parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return in_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
