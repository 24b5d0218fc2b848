"""Routes decide, messages choose only what a route allows."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import Reject
from pipeline.formats.reference import Reference, SkipReason
from pipeline.records import Headers
from pipeline.routes import Routed, RoutePolicy, Router

LOADED = ["moderation", "objects", "scenes"]


def decide(
    *routes: RoutePolicy,
    topic: str = "uploads",
    headers: Headers = (),
    bucket: str = "photos",
    key: str = "cats/1.jpg",
    label_sets: tuple[str, ...] = (),
    tenant: str | None = None,
) -> Routed | SkipReason:
    router = Router(routes, LOADED)
    reference = Reference(bucket, key, label_sets=label_sets, tenant=tenant)
    return router.decide(router.open_to(topic, headers), reference)


def refusal(*routes: RoutePolicy, **case: Any) -> str:
    with pytest.raises(Reject) as caught:
        decide(*routes, **case)
    return caught.value.code


def to(name: str, **fields: Any) -> RoutePolicy:
    return RoutePolicy(label_sets=(name,), **fields)


def test_without_routes_every_label_set_scores_every_image() -> None:
    assert decide() == Routed(("moderation", "objects", "scenes"), None)


def test_without_routes_a_message_chooses_among_what_is_loaded() -> None:
    assert decide(label_sets=("scenes",), tenant="acme") == Routed(("scenes",), "acme")


def test_the_first_route_that_matches_decides() -> None:
    routes = (to("objects", bucket="thumbs"), to("scenes", bucket="ph*"), to("moderation"))
    assert decide(*routes) == Routed(("scenes",), None)
    assert decide(*routes, bucket="thumbs") == Routed(("objects",), None)
    assert decide(*routes, bucket="other") == Routed(("moderation",), None)


@pytest.mark.parametrize(
    ("condition", "case", "matches"),
    [
        ({"topic": "up*"}, {"topic": "uploads"}, True),
        ({"topic": "up"}, {"topic": "uploads"}, False),
        ({"bucket": "photos"}, {"bucket": "photos"}, True),
        ({"bucket": "PHOTOS"}, {"bucket": "photos"}, False),
        ({"key": "cats/*"}, {"key": "cats/2026/1.jpg"}, True),
        ({"key": "*.jpg"}, {"key": "cats/1.jpg"}, True),
        ({"key": "*.jpg"}, {"key": "cats/1.jpg\n"}, False),
        ({"key": "*cats*"}, {"key": "a\ncats\nb"}, True),
        ({"key": "cat?/*"}, {"key": "cats/1"}, True),
        ({"key": "[ab]*"}, {"key": "cats"}, False),
        ({"key": "a.c"}, {"key": "abc"}, False),
        ({"headers": {"source": "cms*"}}, {"headers": (("source", b"cms-1"),)}, True),
        ({"headers": {"source": "cms*"}}, {"headers": (("Source", b"cms-1"),)}, False),
        ({"headers": {"source": "cms*"}}, {"headers": (("source", None),)}, False),
        ({"headers": {"source": "*"}}, {"headers": (("source", b"\xff"),)}, False),
        ({"headers": {"source": "*"}}, {"headers": ()}, False),
        (
            {"headers": {"source": "b"}},
            {"headers": (("source", b"a"), ("source", b"b"))},
            True,
        ),
        (
            {"headers": {"source": "a", "kind": "b"}},
            {"headers": (("source", b"a"), ("kind", b"c"))},
            False,
        ),
        ({"topic": "uploads", "bucket": "x*"}, {}, False),
    ],
)
def test_all_conditions_of_a_route_must_hold(
    condition: dict[str, Any], case: dict[str, Any], matches: bool
) -> None:
    decision = decide(to("objects", **condition), to("moderation"), **case)
    assert decision == Routed(("objects" if matches else "moderation",), None)


def test_a_route_may_skip() -> None:
    routes = (RoutePolicy(key="*.txt", skip=True), to("moderation"))
    assert decide(*routes, key="notes.txt") is SkipReason.ROUTE


def test_a_skip_comes_before_what_the_message_asks_for() -> None:
    assert decide(RoutePolicy(skip=True), label_sets=("nonsense",)) is SkipReason.ROUTE


def test_a_reference_that_no_route_matches_is_refused() -> None:
    assert refusal(to("objects", bucket="other")) == "reference.no_route"
    assert refusal(to("objects", topic="other")) == "reference.no_route"


def test_a_message_may_not_choose_by_default() -> None:
    assert refusal(to("moderation"), label_sets=("objects",)) == "reference.not_allowed"


def test_a_message_may_not_drop_one_of_the_routes_label_sets() -> None:
    route = RoutePolicy(label_sets=("moderation", "objects"))
    assert refusal(route, label_sets=("objects",)) == "reference.not_allowed"


def test_a_message_may_ask_for_what_it_gets_anyway() -> None:
    route = RoutePolicy(label_sets=("moderation", "objects"))
    assert decide(route, label_sets=("objects", "moderation")) == Routed(
        ("moderation", "objects"), None
    )


def test_a_message_gets_what_its_route_allows() -> None:
    route = to("moderation", allowed_label_sets=("objects", "scenes"))
    assert decide(route) == Routed(("moderation",), None)
    assert decide(route, label_sets=("scenes", "objects")) == Routed(("scenes", "objects"), None)
    assert refusal(route, label_sets=("scenes", "moderation")) == "reference.not_allowed"


@pytest.mark.parametrize("routes", [(), (to("moderation"),)])
def test_an_unknown_label_set_is_refused_and_never_defaulted(routes: Any) -> None:
    case = {"label_sets": ("moderation", "nonsense")}
    assert refusal(*routes, **case) == "reference.unknown_label_set"


def test_the_refusal_of_an_unknown_label_set_can_be_written_and_says_what_is_loaded() -> None:
    with pytest.raises(Reject) as caught:
        decide(label_sets=("x" * 10_000,))
    assert "(loaded: moderation, objects, scenes)" in caught.value.message
    assert len(caught.value.message) < 300


def test_a_tenant_is_the_routes_unless_it_allows_another() -> None:
    route = to("moderation", tenant="acme", allowed_tenants=("acme-*",))
    assert decide(route) == Routed(("moderation",), "acme")
    assert decide(route, tenant="acme") == Routed(("moderation",), "acme")
    assert decide(route, tenant="acme-eu") == Routed(("moderation",), "acme-eu")
    assert refusal(route, tenant="umbrella") == "reference.not_allowed"
    assert refusal(to("moderation"), tenant="acme") == "reference.not_allowed"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bucket": "photos"},
        {"skip": True, "label_sets": ["moderation"]},
        {"skip": True, "tenant": "acme"},
        {"label_sets": ["moderation"], "bukcet": "photos"},
        {"label_sets": ["moderation"], "key": ""},
    ],
)
def test_a_route_that_says_nothing_or_two_things_is_refused_at_start_up(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        RoutePolicy.model_validate(fields)


@pytest.mark.parametrize("field", ["label_sets", "allowed_label_sets"])
def test_a_route_that_names_a_label_set_not_loaded_is_refused_at_start_up(field: str) -> None:
    fields = {"label_sets": ["moderation"]} | {field: ["moderation", "gone"]}
    routes = [to("moderation"), RoutePolicy.model_validate(fields)]
    with pytest.raises(ValueError, match=r"routes\[1\]: label set 'gone' is not loaded"):
        Router(routes, LOADED)


def test_a_router_needs_a_label_set() -> None:
    with pytest.raises(ValueError, match="none is loaded"):
        Router([], [])


def test_a_pattern_of_many_stars_takes_linear_time() -> None:
    # A backtracking matcher would need more steps than there are atoms; this one ends.
    pattern = "*a" * 40 + "b"
    assert decide(to("objects", key=pattern), to("scenes"), key="a" * 1024) == Routed(
        ("scenes",), None
    )
