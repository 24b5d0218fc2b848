"""Who asks, and what they may see and do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from pipeline.priority import FIRST
from workers.serve.admission.memory import Hold
from workers.serve.admission.rates import Rate
from workers.serve.errors import ApiError


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
    beside an image. ``rate`` bounds its images a second; None: nothing does.
    ``proxy``: the key is a proxy's, which says who asks: ``user``.
    """

    name: str
    scopes: frozenset[Scope]
    label_sets: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    ignore_text: bool = False
    level: int = FIRST
    rate: Rate | None = None
    proxy: bool = False
    user: str | None = None

    @property
    def told(self) -> str:
        """Who asks, for logs. Metrics have ``name``: there are few keys and many users."""
        return self.name if self.user is None else f"{self.name}/{self.user}"

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def may_use(self, label_set: str) -> bool:
        return _any(self.label_sets, label_set)

    def may_see(self, bucket: str, key: str, scheme: str = "s3") -> bool:
        """Whether the caller may see an object. Of another scheme than S3's, ``bucket`` is a host,
        and the pattern must name the scheme: a bucket may be called like a host."""
        place = f"{bucket}/{key}"
        return _any(self.objects, place if scheme == "s3" else f"{scheme}://{place}")

    def may_see_tenant(self, tenant: str | None) -> bool:
        return self.tenants is None or _any(self.tenants, tenant or "")


ANYBODY = Caller("anybody", frozenset(Scope))
"""Who asks where no keys are configured."""

NOBODY = Caller("nobody", frozenset(), (), (), ())
"""Who asks without a key for what needs none, and who is refused for want of a key."""


@dataclass(slots=True)
class Admitted:
    """A request that may be read: ``request.state.admitted``.

    ``memory`` holds the body's bytes, and takes those of images that the request fetches.
    ``Images`` counts what it has looked at in ``images`` and ``image_bytes``, and what became of
    each image in ``outcomes``, for metrics: ``seen``, or the stage at which it failed.
    ``prepaid`` images were charged to the key's rate before the request was read.
    """

    caller: Caller
    request_id: str
    memory: Hold
    images: int = 0
    image_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    prepaid: int = 0

    def count(self, outcome: str) -> None:
        """Count an image in ``outcomes``."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def require(caller: Caller, scope: Scope) -> None:
    """Refuse callers without this scope.

    Raises:
        ApiError: 403 ``scope_missing``.
    """
    if not caller.may(scope):
        raise ApiError(
            403,
            "scope_missing",
            f"the key {caller.name!r} lacks the scope {scope.value!r}; ask for a key that has it",
        )


def _any(patterns: tuple[str, ...] | None, text: str) -> bool:
    return patterns is None or any(_compiled(pattern).fullmatch(text) for pattern in patterns)


@lru_cache(4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
