"""Routes decide how an object is classified, from the record and the reference alone.

The first matching route decides. A message can only choose among what that route allows.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, model_validator

from pipeline.errors import Reject
from pipeline.formats.reference import Reference, SkipReason
from pipeline.policy import Policy, Tier
from pipeline.records import Headers, Removal

_SHOWN_CHARACTERS = 70
_GLOB = "`*` matches any characters, slashes too, `?` one, `[abc]` one of these; case matters."


class RoutePolicy(Policy):
    """One route. A reference matches if all conditions of the route hold; a route without
    conditions matches everything.

    Patterns are globs, not regular expressions, because globs match in linear time whatever a
    sender writes into a key.
    """

    tier = Tier.EVERYDAY

    topic: str | None = Field(
        default=None,
        description=f"Glob for the topic that the record came from. {_GLOB}",
        min_length=1,
    )
    bucket: str | None = Field(
        default=None, description="Glob for the object's bucket.", min_length=1
    )
    key: str | None = Field(default=None, description="Glob for the object's key.", min_length=1)
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Record headers that must be present: a mapping of header names to globs for "
        "their values, read as UTF-8 text.",
    )
    skip: bool = Field(
        default=False,
        description="Classify nothing that matches. Such references are counted as skipped with "
        "the reason `route`.",
    )
    label_sets: tuple[str, ...] = Field(
        default=(), description="Label sets that score the image if its message asks for none."
    )
    allowed_label_sets: tuple[str, ...] = Field(
        default=(),
        description="Label sets that a message may ask for instead of `label_sets`. Anyone who "
        "may write to the topic can then avoid the label sets of the route.",
    )
    tenant: str | None = Field(
        default=None, description="Tenant of images whose message names none.", min_length=1
    )
    allowed_tenants: tuple[str, ...] = Field(
        default=(), description="Globs for the tenants that a message may name."
    )

    @model_validator(mode="after")
    def _skips_or_classifies(self) -> Self:
        chooses = self.label_sets or self.allowed_label_sets or self.tenant or self.allowed_tenants
        if self.skip and chooses:
            raise ValueError(
                "a route that skips cannot decide anything else; keep only its conditions and "
                "`skip`"
            )
        if not self.skip and not self.label_sets:
            raise ValueError("a route needs `label_sets`, or `skip: true`")
        return self


@dataclass(frozen=True, slots=True)
class Routed:
    """How to classify one object. ``label_sets`` is never empty."""

    label_sets: tuple[str, ...]
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route with its patterns compiled."""

    policy: RoutePolicy
    topic: re.Pattern[str]
    bucket: re.Pattern[str]
    key: re.Pattern[str]
    headers: tuple[tuple[str, re.Pattern[str]], ...]
    tenants: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, policy: RoutePolicy) -> Route:
        return cls(
            policy,
            _glob(policy.topic),
            _glob(policy.bucket),
            _glob(policy.key),
            tuple((name, _glob(pattern)) for name, pattern in policy.headers.items()),
            tuple(map(_glob, policy.allowed_tenants)),
        )

    def takes(self, topic: str, headers: Headers) -> bool:
        return bool(self.topic.match(topic)) and all(
            any(name == wanted and _matches(pattern, value) for name, value in headers)
            for wanted, pattern in self.headers
        )

    def takes_reference(self, reference: Reference) -> bool:
        return bool(self.bucket.match(reference.bucket) and self.key.match(reference.key))

    def label_sets_for(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        given = self.policy.label_sets
        # A message that asks for the route's own label sets makes no choice. Replayed dead letters
        # do so.
        if not asked or set(asked) == set(given):
            return given
        refused = [name for name in asked if name not in self.policy.allowed_label_sets]
        if refused:
            raise _not_allowed("label set", refused[0], "allowed_label_sets")
        return asked

    def tenant_for(self, asked: str | None) -> str | None:
        if asked is None or asked == self.policy.tenant:
            return self.policy.tenant
        if not any(pattern.match(asked) for pattern in self.tenants):
            raise _not_allowed("tenant", asked, "allowed_tenants")
        return asked


class Router:
    """The routes in their order, checked against the loaded label sets. Immutable: a change of
    label sets or routes makes a new router.

    Without routes, one route matches everything. It scores with every loaded label set (in the
    given order), and lets messages choose among them and name any tenant.
    """

    def __init__(
        self,
        routes: Sequence[RoutePolicy],
        label_sets: Iterable[str],
        *,
        removals: bool = False,
    ) -> None:
        """``removals``: whether removals of objects are to be published.

        Raises ValueError if a route names a label set that is not loaded, or if none is
        loaded."""
        self.removals = removals
        self._loaded = tuple(label_sets)
        if not self._loaded:
            raise ValueError("label_sets: none is loaded; add a file to label_sets.paths")
        for place, policy in enumerate(routes):
            for name in (*policy.label_sets, *policy.allowed_label_sets):
                if name not in self._loaded:
                    raise ValueError(
                        f"routes[{place}]: label set {name!r} is not loaded "
                        f"(loaded: {', '.join(self._loaded)}); load it or fix the name"
                    )
        policies = routes or (
            RoutePolicy(
                label_sets=self._loaded, allowed_label_sets=self._loaded, allowed_tenants=("*",)
            ),
        )
        self._routes = tuple(map(Route.of, policies))

    def open_to(self, topic: str, headers: Headers) -> tuple[Route, ...]:
        """The routes whose topic and headers match. Computed once for each record."""
        return tuple(route for route in self._routes if route.takes(topic, headers))

    def removal_of(self, routes: tuple[Route, ...], removal: Removal) -> Removal | None:
        """The removal with its route's tenant, given the routes from ``open_to``. None if no route
        classifies such objects: then nobody knows the object."""
        try:
            decision = self.decide(routes, Reference(removal.bucket, removal.key))
        except Reject:
            return None
        if isinstance(decision, SkipReason):
            return None
        return replace(removal, tenant=decision.tenant)

    def decide(self, routes: tuple[Route, ...], reference: Reference) -> Routed | SkipReason:
        """The route's decision about a reference, given the routes from ``open_to``.

        Raises:
            Reject: ``reference.no_route``, ``reference.unknown_label_set``,
                ``reference.not_allowed``.
        """
        route = next((route for route in routes if route.takes_reference(reference)), None)
        if route is None:
            raise Reject(
                "reference.no_route",
                f"no route matches bucket {reference.bucket!r}; add one, or a last one that skips",
            )
        if route.policy.skip:
            return SkipReason.ROUTE
        for name in reference.label_sets:
            if name not in self._loaded:
                raise Reject(
                    "reference.unknown_label_set",
                    f"label_sets: {name[:_SHOWN_CHARACTERS]!r} is not loaded "
                    f"(loaded: {', '.join(self._loaded)}); load it, or mend the name",
                )
        return Routed(
            route.label_sets_for(reference.label_sets), route.tenant_for(reference.tenant)
        )


def _glob(pattern: str | None) -> re.Pattern[str]:
    # Each star becomes an atomic group (Python 3.11), so no star backtracks into another.
    return re.compile(fnmatch.translate("*" if pattern is None else pattern))


def _matches(pattern: re.Pattern[str], value: bytes | None) -> bool:
    if value is None:
        return False
    try:
        return bool(pattern.match(value.decode()))
    except UnicodeDecodeError:
        return False


def _not_allowed(what: str, name: str, setting: str) -> Reject:
    return Reject(
        "reference.not_allowed",
        f"{what} {name[:_SHOWN_CHARACTERS]!r} is not in its route's {setting}; allow it there, or "
        "mend the producer",
    )
