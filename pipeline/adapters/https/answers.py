"""What a web server's answer means for the image. No message holds a path or a query, because
messages are logged."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from pipeline.adapters.https.guard import AddressRefused
from pipeline.errors import PipelineError, Reject, Retry, StoreDenied, is_exhaustion

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_MISSING = frozenset({404, 410})
_REFUSED = frozenset({401, 403, 407, 451})
_PASSES = frozenset({408, 409, 421, 425, 429})
"""Answers below 500 that the same request may not meet again."""

_MAX_ETAG_CHARACTERS = 256
_ETAG = re.compile(r"[\x21\x23-\x7e]+")
"""The characters that RFC 9110 allows between the quotes, without bytes beyond ASCII."""


def failure(status: int, headers: Mapping[str, str]) -> PipelineError:
    """The error to raise for an answer that is neither the image nor a redirect."""
    answer = f"https: the server answered {status}"
    wait_s = retry_after_s(headers)
    if status in _MISSING:
        return Reject(
            "fetch.not_found", f"{answer}; check that the image is there before its message"
        )
    if status == 412:
        return superseded()
    if status in (204, 205):
        return empty()
    if status in _REFUSED:
        return StoreDenied(
            "fetch.forbidden",
            f"{answer}; check that the URL's signature has not expired, and that the server "
            "serves this worker",
            wait_s,
        )
    if 400 <= status < 500 and status not in _PASSES:
        return StoreDenied("fetch.failed", f"{answer}; try the URL by hand", wait_s)
    return Retry("fetch.failed", f"{answer}; look at the server", wait_s)


def trouble(error: BaseException) -> PipelineError | OSError:
    """The error to raise for an exception of aiohttp. Its own text may quote the URL."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error.os_error)
    if isinstance(error, aiohttp.InvalidURL):
        return address_refused()
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _untrusted()
    if isinstance(error, TimeoutError):
        return Retry(
            "fetch.timeout",
            "https: the server stayed silent too long; look at it (https.connect_timeout_s, "
            "https.read_timeout_s)",
        )
    if isinstance(error, OSError):
        return _unconnected(error)
    return _unreachable(f"no complete answer ({type(error).__name__})")


def address_refused() -> Reject:
    return Reject(
        "fetch.address_not_allowed",
        "https: the host's address is not public, so it is not read; mend the producer, or the "
        "host's DNS records",
    )


def redirected(why: str) -> Reject:
    return Reject("fetch.redirected", f"https: the server redirects {why}")


def no_versions() -> Reject:
    return Reject("fetch.not_found", "https: a web server keeps no versions; send no version id")


def superseded() -> Reject:
    return Reject(
        "fetch.superseded",
        "https: the image's ETag is no longer the reference's; send a reference to the new image",
    )


def empty() -> Reject:
    return Reject("fetch.empty", "https: the image has no bytes; look at the server")


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Called before the bytes are read, and again while they are.

    Raises:
        Reject: ``fetch.too_large``.
    """
    if size_bytes > max_bytes:
        raise Reject(
            "fetch.too_large",
            f"https: {size_bytes:,} bytes exceed fetch.max_bytes = {max_bytes:,}; raise the limit "
            "if such images are legitimate",
        )


def if_match(etag: str) -> str:
    """The value of the condition's header; ``etag`` without quotes.

    Raises:
        Reject: ``fetch.superseded``: no image can have such an ETag.
    """
    if not _ETAG.fullmatch(etag):
        raise superseded()
    return f'"{etag}"'


def bare_etag(header: str | None) -> str | None:
    """The ETag without quotes. One that no event should carry counts as absent."""
    if header is None:
        return None
    bare = header.removeprefix("W/").strip('"')
    return bare if len(bare) <= _MAX_ETAG_CHARACTERS and _ETAG.fullmatch(bare) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that the server asks for, in seconds. A moment is compared with the server's own
    clock."""
    asked = headers.get("Retry-After", "")
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def _unconnected(error: OSError) -> PipelineError | OSError:
    if isinstance(error, AddressRefused):
        return address_refused()
    if isinstance(error, ssl.SSLError):
        return _untrusted()
    if is_exhaustion(error):
        # A process without file descriptors says nothing about the server or the image.
        number = error.errno or 0
        return OSError(number, f"https: no connection can be opened: {os.strerror(number)}")
    return _unreachable(error.strerror or type(error).__name__)


def _unreachable(detail: str) -> Retry:
    return Retry("fetch.failed", f"https: {detail}; look at the network and the server")


def _untrusted() -> Retry:
    return Retry(
        "fetch.failed",
        "https: the server's certificate is not trusted; name its authority in https.ca_file, or "
        "mend the server",
    )
