"""Who asks, and what they may see and do."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from enum import StrEnum

from pipeline.priority import FIRST
from workers.serve.admission.memory import Hold


class Scope(StrEnum):
    """What a key may do. A new key has ``classify`` alone."""

    CLASSIFY = "classify"
    """Ask for classifications, moderations and embeddings."""
    LIVE = "live"
    """See outcomes of the stream, with their images."""
    DEAD_LETTERS = "dead-letters"
    """See dead letters."""
    REPLAY = "replay"
    """Send dead letters back to the stream."""
    ADMIN = "admin"
    """See the state of the workers and replicas."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``name`` is the key's name, for logs and metrics.

    ``label_sets``, ``objects`` and ``tenants`` are patterns in which ``*`` stands for any
    characters; None allows all. ``objects`` are patterns of ``bucket/key``. ``level`` says who goes
    first at each stage (``pipeline.priority``). ``ignore_text`` lets a moderation pass over text
    beside an image.
    """

    name: str
    scopes: frozenset[Scope]
    label_sets: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    ignore_text: bool = False
    level: int = FIRST

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def may_use(self, label_set: str) -> bool:
        return _any(self.label_sets, label_set)

    def may_see(self, bucket: str, key: str) -> bool:
        return _any(self.objects, f"{bucket}/{key}")

    def may_see_tenant(self, tenant: str | None) -> bool:
        return self.tenants is None or _any(self.tenants, tenant or "")


ANYBODY = Caller("anybody", frozenset(Scope))
"""Who asks where no keys are configured."""


@dataclass(slots=True)
class Admitted:
    """A request that may be read: ``request.state.admitted``.

    ``memory`` holds the body's bytes, and takes those of images that the request fetches. A route
    counts what it has looked at in ``images`` and ``image_bytes``.
    """

    caller: Caller
    request_id: str
    memory: Hold
    images: int = 0
    image_bytes: int = 0


def _any(patterns: tuple[str, ...] | None, text: str) -> bool:
    return patterns is None or any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
