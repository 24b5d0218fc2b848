"""Reads ``https://host/path?query`` into the identity of an image. Strict: a URL that two programs
could read differently is refused, because the host decides whether the image may be read.

The host is written in lower case and ASCII, the path is kept as it was sent. The query is part of
what is fetched. It may hold a signature, so no message of this module quotes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipeline.formats.fields import invalid
from pipeline.formats.reference import MAX_KEY_BYTES

SCHEME = "https"
PREFIX = "https://"

MAX_QUERY_BYTES = 4096
"""Signed URLs of AWS with a session's token need some 2,000."""
MAX_HOST_CHARACTERS = 253

_PORT = "443"
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes a host an IPv4 address (WHATWG URL, "ends in a number checker")."""
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
"""RFC 3986, section 3.3."""
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]|-]|%[0-9A-Fa-f]{2})*")
"""RFC 3986, section 3.4, and the brackets and bars that servers do send unescaped."""

_READ_DIFFERENTLY = frozenset("ß\u1e9eς\u200c\u200d")
"""Characters that the two standards of international names, of 2003 and 2008, turn into different
hosts. Python knows the one of 2003, browsers use the one of 2008."""

_SHOWN_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class HttpsUrl:
    """A URL's parts. ``path`` has no slash in front, and ``query`` no question mark. Neither is
    unescaped. ``query`` is None if it is empty."""

    host: str
    path: str
    query: str | None = field(default=None, repr=False)


def parse(url: str, where: str) -> HttpsUrl:
    """Read a URL. ``where`` names its field in messages. A fragment is dropped, because it is never
    sent to a server.

    Raises:
        Reject: ``reference.invalid``: the URL is not https, holds credentials or another port than
            443, names an IP address or a host without a dot, or has a character that must be
            percent-encoded.
    """
    if url[: len(PREFIX)].lower() != PREFIX:
        raise invalid(where, "is not an https:// URL; send https://host/path")
    rest, _, _ = url[len(PREFIX) :].partition("#")
    authority, path, query = _split(rest)
    if not _PATH.fullmatch(path):
        raise invalid(
            where,
            "has a path with a character that a URL cannot hold; percent-encode spaces, "
            "backslashes, control characters and everything beyond ASCII",
        )
    if len(path) > MAX_KEY_BYTES:
        raise invalid(
            where, f"has a path of {len(path):,} characters (limit {MAX_KEY_BYTES:,}); shorten it"
        )
    return HttpsUrl(_host(authority, where), path, check_query(query, where))


def check_query(query: str | None, where: str) -> str | None:
    """Accept a query, without its question mark. An empty one is none.

    Raises:
        Reject: ``reference.invalid``: it is too long, or has a character that must be
            percent-encoded.
    """
    if not query:
        return None
    if len(query) > MAX_QUERY_BYTES:
        raise invalid(
            where,
            f"has a query of {len(query):,} characters (limit {MAX_QUERY_BYTES:,}); shorten it",
        )
    if not _QUERY.fullmatch(query):
        raise invalid(
            where, "has a query with a character that a URL cannot hold; percent-encode it"
        )
    return query


def is_host(host: str) -> bool:
    """Whether a host is in the form that ``parse`` returns."""
    labels = host.split(".")
    return (
        len(host) <= MAX_HOST_CHARACTERS
        and len(labels) > 1
        and all(map(_LABEL.fullmatch, labels))
        and not _NUMBER.fullmatch(labels[-1])
    )


def host_of(text: str) -> str | None:
    """A host in lower case and ASCII, or None if ``text`` is no host that may be named."""
    host = text.lower()
    if not host.isascii():
        if _READ_DIFFERENTLY.intersection(text):
            return None
        try:
            host = text.encode("idna").decode().lower()
        except UnicodeError:
            return None
    return host if is_host(host) else None


def _split(rest: str) -> tuple[str, str, str]:
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, path, query


def _host(authority: str, where: str) -> str:
    if "@" in authority:
        # Neither part of it is quoted: what stands there may be a password.
        raise invalid(where, "holds a user or a password; send the URL without them")
    text, colon, port = authority.partition(":")
    if "[" not in authority and colon and port != _PORT:
        raise invalid(where, f"names another port than {_PORT}; send https://host/path")
    host = host_of(text)
    if host is None:
        raise invalid(
            where,
            f"{authority[:_SHOWN_CHARACTERS]!r} is not a host's name; send a name with a dot, of "
            "letters, digits, hyphens and underscores (xn--… for others), and no IP address",
        )
    return host
