"""What every format is read into, and what makes the name of an object valid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.formats.fields import invalid
from pipeline.records import NO_JSON, JsonValue

MAX_KEY_BYTES = 1024
"""S3's limit, in UTF-8."""
MAX_VERSION_ID_CHARACTERS = 1024
"""S3's limit; its version ids are URL-ready, thus ASCII."""
MAX_ETAG_CHARACTERS = 256

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_ACCESS_POINT_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap")
# Both travel in a request's URL or headers, where a space or a line break would change its meaning.
_VERSION_ID = re.compile(r"[\x21-\x7e]+")
_ETAG = re.compile(r"[\x21\x23-\x7e]+")
_SHOWN_CHARACTERS = 70


class SkipReason(StrEnum):
    """Why a record, or an entry of it, holds nothing to classify. A closed set: a metric label."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TEST_EVENT = "test_event"
    DELETED = "deleted"
    OTHER_EVENT = "other_event"
    FOLDER = "folder"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a message says of one object, before a route has decided how to classify it.

    ``label_sets`` and ``tenant`` are what the sender asks for.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    id: str | None = None
    tenant: str | None = None
    label_sets: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] = field(default_factory=lambda: NO_JSON)


@dataclass(frozen=True, slots=True)
class Entries:
    """A document's entries: one reference or event each, not yet read.

    ``list_name`` names the list that they stand in, is empty where the document itself is that
    list, and is None where the document is the one entry.
    """

    items: Sequence[JsonValue]
    list_name: str | None = None

    def where(self, index: int) -> str:
        return "" if self.list_name is None else f"{self.list_name}[{index}]"

    def alone(self, index: int) -> JsonValue:
        """A document of the same format that holds this entry alone."""
        item = self.items[index]
        if self.list_name is None:
            return item
        return {self.list_name: [item]} if self.list_name else [item]


@dataclass(frozen=True, slots=True)
class Format:
    """An input format. A function that cannot do its work raises ``Reject``: ``entries`` for the
    whole record, ``read`` for one entry, given with its place in the record."""

    name: str
    recognises: Callable[[JsonValue], bool]
    entries: Callable[[JsonValue], Entries]
    read: Callable[[JsonValue, str], Reference | SkipReason]


def check_bucket(bucket: str, where: str) -> str:
    """Accept a general purpose bucket's name, by S3's rules; no ARN, access point or URL.

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
    """Accept an ETag with or without its quotes; return it without."""
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
