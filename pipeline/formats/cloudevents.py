"""The CloudEvents 1.0 envelope, in both modes of its Kafka binding.

Source: CloudEvents, "Kafka Protocol Binding" and "JSON Event Format", 1.0.2. The data is read like
any other document. Only the attributes that describe the data are used: its version and media type.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from pipeline.formats.fields import Fields, invalid, unknown_format
from pipeline.formats.strict_json import Load
from pipeline.records import JsonValue

SPEC_VERSION = "1.0"
CONTENT_TYPE = "content-type"
HEADERS = (CONTENT_TYPE, "ce_specversion", "ce_id", "ce_source", "ce_type")
"""Headers that ``check_headers`` reads."""

_STRUCTURED = "application/cloudevents"
_STRUCTURED_JSON = "application/cloudevents+json"
_JSON = re.compile(r"[^/]+/(?:[^/]+\+)?json")
_REQUIRED = ("id", "source", "type")


def check_headers(headers: Mapping[str, bytes]) -> None:
    """Refuse an event whose headers say that its value cannot be read.

    ``headers`` are the record's headers by lower-case name. Without CloudEvents headers there is
    nothing to check.

    Raises:
        Reject: ``reference.unknown_format`` for another event format or for data that is not JSON;
            ``reference.invalid`` if a required attribute is missing.
    """
    content_type = _media_type(_text(headers, CONTENT_TYPE) or "")
    if content_type.startswith(_STRUCTURED):
        # A structured event may repeat its attributes as headers; its value counts.
        if content_type != _STRUCTURED_JSON:
            raise unknown_format(
                CONTENT_TYPE, f"{content_type[:60]!r} is not read; send {_STRUCTURED_JSON}"
            )
        return
    version = _text(headers, "ce_specversion")
    if version is None:
        return
    _check_version("ce_specversion", version)
    for name in _REQUIRED:
        if not _text(headers, f"ce_{name}"):
            raise invalid(f"ce_{name}", "is missing; CloudEvents requires it")
    _check_json(CONTENT_TYPE, content_type)


def unwrap(document: JsonValue, load: Load) -> JsonValue:
    """Return the data of a structured event, or the document itself if it is no such event.

    An event is recognised by ``specversion``: the binding requires no content-type header.

    Raises:
        Reject: as ``check_headers``; also if the data is missing or its Base64 is broken.
    """
    if not isinstance(document, dict) or "specversion" not in document:
        return document
    event = Fields(document, "")
    _check_version("specversion", event.text("specversion"))
    for name in _REQUIRED:
        if not event.text(name):
            raise invalid(name, "is empty; CloudEvents requires it")
    _check_json("datacontenttype", _media_type(event.optional_text("datacontenttype") or ""))
    data, encoded = event.get("data"), event.optional_text("data_base64")
    if (data is None) == (encoded is None):
        raise invalid("data", "send either data or data_base64")
    return data if encoded is None else load(_decoded(encoded))


def _check_version(where: str, version: str) -> None:
    if version != SPEC_VERSION:
        raise unknown_format(where, f"{version[:40]!r} is not {SPEC_VERSION}")


def _check_json(where: str, media_type: str) -> None:
    """Accept ``*/json`` and ``*/*+json``. A missing type means JSON."""
    if media_type and not _JSON.fullmatch(media_type):
        raise unknown_format(where, f"{media_type[:60]!r} is not JSON; send application/json")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _text(headers: Mapping[str, bytes], name: str) -> str | None:
    value = headers.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(f"header {name}", "is not UTF-8") from None


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        raise invalid("data_base64", "is not Base64") from None
