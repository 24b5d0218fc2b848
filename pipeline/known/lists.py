"""A list of known pictures, and all lists in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from pipeline.known.cosines import CosineTable
from pipeline.known.digests import DigestTable
from pipeline.known.hamming import HammingTable
from pipeline.records import Looked
from pipeline.records.known import KnownKind, KnownMatch, PdqHash

PDQ_QUALITY_FLOOR = 50
"""Pictures of a lower quality are in no list: their hashes are alike by chance. The number is that
of PDQ's authors."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """The model whose embeddings a list holds."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class KnownList:
    """What the header of a list says. ``max_distance`` is that of kind ``pdq``, ``min_cosine`` and
    ``model`` those of kind ``embedding``."""

    name: str
    kind: KnownKind
    action: str
    max_distance: int | None = None
    min_cosine: float | None = None
    model: KnownModel | None = None

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
    table: DigestTable | HammingTable | CosineTable

    def by_file(self, sha256: str) -> KnownMatch | None:
        if not isinstance(self.table, DigestTable):
            return None
        row = self.table.find(bytes.fromhex(sha256))
        return None if row is None else self._match(row)

    def by_picture(self, pdq: PdqHash) -> KnownMatch | None:
        most = self.known.max_distance
        if not isinstance(self.table, HammingTable) or most is None:
            return None
        found = self.table.nearest(pdq.bits, most)
        return None if found is None else self._match(found[0], distance=found[1])

    def by_embedding(self, looked: Looked) -> KnownMatch | None:
        least = self.known.min_cosine
        if not isinstance(self.table, CosineTable) or least is None:
            return None
        vectors = [looked.embedding] if looked.views is None else looked.views.embeddings
        found = [self.table.nearest(vector, least) for vector in vectors]
        best = max((each for each in found if each), key=lambda each: each[1], default=None)
        return None if best is None else self._match(best[0], cosine=best[1])

    def _match(
        self, row: int, distance: int | None = None, cosine: float | None = None
    ) -> KnownMatch:
        """An image is what the row of the table is."""
        known = self.known
        return KnownMatch(
            known.name, self.version, known.kind, known.action, row + 1, distance, cosine
        )


class KnownLists:
    """One version of all lists. Immutable: a change of lists makes a new object, so that an image
    is compared with one version of each. Matches are in the order of the lists."""

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
        return tuple(match for each in self._loaded if (match := each.by_file(sha256)))

    def by_picture(self, pdq: PdqHash | None) -> tuple[KnownMatch, ...]:
        """The lists that have nearly this picture. None has a picture of low quality."""
        if pdq is None or pdq.quality < PDQ_QUALITY_FLOOR:
            return ()
        return tuple(match for each in self._loaded if (match := each.by_picture(pdq)))

    def by_embedding(self, looked: Looked) -> tuple[KnownMatch, ...]:
        """The lists that have an embedding near the image's, or near that of one of its views."""
        return tuple(match for each in self._loaded if (match := each.by_embedding(looked)))
