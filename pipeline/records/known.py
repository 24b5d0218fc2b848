"""What is known of a picture before anybody looks at it: matches with lists of known pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class KnownKind(StrEnum):
    """What the entries of a list are compared by."""

    SHA256 = "sha256"
    PDQ = "pdq"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class KnownMatch:
    """An image is in a list of known pictures.

    ``entry`` is the number of the nearest entry in the list, from 1. ``distance`` counts the bits
    that differ, for a list of kind ``pdq`` alone. ``cosine`` is for a list of kind ``embedding``
    alone. ``action`` is the list's.
    """

    known_list: str
    version: str
    kind: str
    action: str
    entry: int
    distance: int | None = None
    cosine: float | None = None


@dataclass(frozen=True, slots=True)
class PdqHash:
    """The PDQ hash of a whole picture. ``quality`` is 0 to 100: flat pictures have little to tell
    them apart by."""

    bits: bytes
    quality: int
