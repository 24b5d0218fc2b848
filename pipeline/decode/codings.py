"""Which content codings an object claims to have: RFC 9110, section 8.4. The decoder undoes them,
in its sandbox. Standard library only."""

from __future__ import annotations

from pipeline.errors import Reject

CODINGS = ("gzip", "deflate", "br", "zstd")
"""The codings that are undone: those that browsers ask servers for."""

MAX_CODINGS = 4
"""Most codings of one object. An honest object has one, and each coding can be a bomb."""

_SAME = {"x-gzip": "gzip"}

_NONE = frozenset(
    # `aws-chunked` describes the upload. The others are charsets and transfer encodings, which
    # uploaders write into the wrong header and readers ignore.
    {"", "identity", "aws-chunked", "utf-8", "utf8", "binary", "base64", "none"}
)


def codings_of(content_encoding: str | None) -> tuple[str, ...]:
    """The codings that an object's Content-Encoding names, in the order in which they were applied:
    each of ``CODINGS``, at most ``MAX_CODINGS``.

    Raises:
        Reject: ``decode.unsupported_encoding``.
    """
    if content_encoding is None:
        return ()
    named = [each.strip().lower() for each in content_encoding.split(",")]
    # A media type does not belong in this header either.
    codings = [_SAME.get(each, each) for each in named if each not in _NONE and "/" not in each]
    for coding in codings:
        if coding not in CODINGS:
            raise Reject(
                "decode.unsupported_encoding",
                f"decode: the object's Content-Encoding names {coding[:40]!r}, which is none of "
                f"{', '.join(CODINGS)}; upload it uncoded, or mend the header",
            )
    if len(codings) > MAX_CODINGS:
        raise Reject(
            "decode.unsupported_encoding",
            f"decode: the object's Content-Encoding names {len(codings)} codings against "
            f"{MAX_CODINGS} at most; upload it uncoded",
        )
    return tuple(codings)
