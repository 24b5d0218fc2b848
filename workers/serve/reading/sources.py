"""What a text in a request names as an image: its own bytes, an object, or an address."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

import pybase64

from pipeline.errors import Reject
from pipeline.formats import https_url
from pipeline.records import ImageRef
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline, Located

SHOWN = 60
"""Characters of a text that a message repeats."""

_VERSION = "?versionId="
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_KINDS = "send a data URI, bare base64, or an s3:// or https:// address"


def given_of(text: str, param: str) -> Given:
    """A data URI, an ``s3://`` or ``https://`` address, or bare base64. ``param`` names the text in
    the request.

    The key of ``s3://bucket/key`` is taken as it is stored, without escapes. A last
    ``?versionId=…`` names a version.

    Raises:
        ApiError: 400: the text is none of these.
    """
    if (found := _SCHEME.match(text)) is None:
        return Inline(decoded(text, param), copied=True)
    rest = text[found.end() :]
    match found[1].lower(), found[2]:
        case "data", None:
            return Inline(_of_data_uri(rest, param), copied=True)
        case "s3", "//":
            return Located(_of_s3(rest, param))
        case "https", "//":
            return Located(_of_https(text, param))
        case "http", "//":
            raise _invalid(_address(text), "http:// is not read; use https://", param)
    raise _invalid(_address(text), f"this scheme is not read; {_KINDS}", param)


def decoded(text: str, param: str) -> bytes:
    """The bytes of base64. White space, a lack of padding and the alphabet for URLs are allowed.

    Raises:
        ApiError: 400: it is not base64, or empty.
    """
    try:
        body = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        body = _of_odd_base64(text, param)
    if not body:
        raise ApiError(400, "invalid_image", f"the image is empty; {_KINDS}", param=param)
    return body


def _of_odd_base64(text: str, param: str) -> bytes:
    bare = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return pybase64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(_shown(text), f"it is neither base64 nor an address; {_KINDS}", param) from (
            None
        )


def _of_data_uri(rest: str, param: str) -> bytes:
    header, comma, data = rest.partition(",")
    # Parameters such as charset stand between the media type and the encoding.
    if not comma or header.lower().split(";")[-1].strip() != "base64":
        raise _invalid(
            f"data:{_shown(header)}",
            "it does not say that its bytes are in base64; write data:image/jpeg;base64,…",
            param,
        )
    # Some clients escape "+", "/" and "=".
    return decoded(unquote_to_bytes(data).decode("latin-1") if "%" in data else data, param)


def _of_s3(rest: str, param: str) -> ImageRef:
    bucket, _, key = rest.partition("/")
    key, mark, version_id = key.rpartition(_VERSION) if _VERSION in key else (key, "", "")
    if not bucket or not key or (mark and not version_id):
        raise _invalid(
            f"s3://{_shown(rest)}",
            "write s3://bucket/key, or s3://bucket/key?versionId=… for one version",
            param,
        )
    return ImageRef(bucket, key, (), version_id=version_id or None)


def _of_https(text: str, param: str) -> ImageRef:
    try:
        url = https_url.parse(text, "the address")
    except Reject as wrong:
        raise ApiError(400, "invalid_image", wrong.message, param=param) from None
    return ImageRef(url.host, url.path, (), scheme=https_url.SCHEME, query=url.query)


def _address(text: str) -> str:
    """An address without its query, which may hold a signature."""
    return _shown(text.partition("?")[0])


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _invalid(shown: str, why: str, param: str) -> ApiError:
    return ApiError(400, "invalid_image", f"{shown!r}: {why}", param=param)
