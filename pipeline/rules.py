"""What one version of the rules does: label sets score an image, and known lists may have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.records import LabelSetResult, Looked
from pipeline.records.known import KnownMatch, PdqHash


class Scoring(Protocol):
    """One version of the label sets, compiled for the model."""

    def judge(
        self, names: tuple[str, ...], looked: Looked, known: Sequence[KnownMatch] = ()
    ) -> tuple[LabelSetResult, ...]: ...

    def unheard(self, names: tuple[str, ...], known: Sequence[KnownMatch]) -> str | None: ...

    def unclassified_action(
        self, names: tuple[str, ...], known: Sequence[KnownMatch] = ()
    ) -> str: ...


class Knowing(Protocol):
    """One version of the lists of known pictures. Each method says which lists have the image, by
    what is known of it so far."""

    def by_file(self, sha256: str) -> tuple[KnownMatch, ...]: ...

    def by_picture(self, pdq: PdqHash | None) -> tuple[KnownMatch, ...]: ...

    def by_embedding(self, looked: Looked) -> tuple[KnownMatch, ...]: ...
