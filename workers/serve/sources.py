"""What a text in a request names as an image: its own bytes, an object, or an address."""

from __future__ import annotations

import binascii

import pybase64

from pipeline.records import ImageRef
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline, Located

SHOWN = 60


def given_of(text: str, param: str) -> Given:
    """A data URI, an ``s3://`` or ``https://`` URI, or bare base64. ``param`` names it in the
    request.

    Raises:
        ApiError: 400: the text is none of these.
    """
    if text.startswith("data:"):
        header, comma, data = text.partition(",")
        if not comma or not header.endswith(";base64"):
            raise _invalid(text, "a data URI must read data:image/…;base64,…", param)
        return Inline(decoded(data, param))
    scheme, sign, rest = text.partition("://")
    if not sign:
        return Inline(decoded(text, param))
    if scheme == "s3":
        bucket, slash, key = rest.partition("/")
        if bucket and slash and key:
            return Located(ImageRef(bucket, key, ()))
        raise _invalid(text, "write s3://bucket/key", param)
    raise _invalid(text, "send a data URI, bare base64, or an s3:// or https:// address", param)


def decoded(text: str, param: str) -> bytes:
    """The bytes of base64.

    Raises:
        ApiError: 400: it is not base64.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid(text, "it is not base64, nor an address", param) from error


def _invalid(text: str, why: str, param: str) -> ApiError:
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return ApiError(400, "invalid_image", f"{shown!r}: {why}", param=param)
