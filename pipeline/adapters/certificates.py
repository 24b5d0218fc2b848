"""When the certificates in a PEM file expire. Python reads a certificate only once a connection has
checked it, so this module reads the one field itself."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_CERTIFICATE = re.compile(
    "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)

# Tags of ASN.1 (X.690), as far as RFC 5280, section 4.1, puts them before and into the validity.
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def expiries(file: Path) -> list[float]:
    """Unix times at which the certificates of a PEM file expire, in the file's order.

    Raises:
        OSError: the file cannot be read.
        ValueError: what stands between the marks is no certificate.
    """
    text = file.read_text(encoding="ascii", errors="replace")
    try:
        return [_not_after(ssl.PEM_cert_to_DER_cert(each)) for each in _CERTIFICATE.findall(text)]
    except (ValueError, StopIteration) as error:
        raise ValueError(f"{file}: a certificate of it is damaged ({error})") from error


def _not_after(der: bytes) -> float:
    """The end of a certificate's validity, which is the fifth field of its first part: version (may
    be missing), serial number, algorithm, issuer, validity."""
    ((_, certificate),) = _elements(der)
    to_be_signed = next(_elements(certificate))[1]
    fields = [each for each in _elements(to_be_signed) if each[0] != _VERSION]
    tag, validity = fields[3] if len(fields) > 3 else (0, b"")
    if tag != _SEQUENCE:
        raise ValueError("its fourth field is no validity")
    (_, (kind, ends)) = _elements(validity)
    if kind not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("its validity holds no time")
    # RFC 5280 allows no other form. A UTCTime's years are 1950 to 2049.
    written = ends.decode("ascii")
    if kind == _UTC_TIME:
        written = ("19" if written >= "5" else "20") + written
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of each element.

    Raises:
        ValueError: an element is longer than what is there.
    """
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1] if at + 1 < len(der) else 0, at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(der[at : at + octets], "big"), at + octets
        if at + length > len(der):
            raise ValueError("an element is cut off")
        yield tag, der[at : at + length]
        at += length
