"""The section `https`, and the stores that it opens."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.errors import Halt
from workers.settings.loading import Settings, validated
from workers.settings.sources import Given
from workers.stores import open_stores

WEB = {"allowed_hosts": ["*.example.com", "images.example.com", "b.example.net"]}


def test_a_deployment_may_read_web_servers_alone() -> None:
    settings = Settings.model_validate({"https": WEB})
    settings.require_stores()
    assert validated(Given({"https": WEB}), must_read=True).has_stores


def test_nothing_is_read_where_no_host_is_named() -> None:
    with pytest.raises(Halt, match=r"s3\.allowed_buckets: is empty"):
        validated(Given({"https": {"allowed_hosts": []}}), must_read=True)
    assert not HttpsPolicy().allows("images.example.com")


def test_hosts_that_are_named_have_stores_of_their_own_before_patterns() -> None:
    async def main() -> list[tuple[str, str, bool, bool]]:
        stores = await open_stores(Settings.model_validate({"https": WEB}))
        found = [
            (each.name, each.scheme, each.pattern, each.allows("images.example.com"))
            for each in stores
        ]
        await stores.close()
        return found

    assert asyncio.run(main()) == [
        ("images.example.com", "https", False, True),
        ("b.example.net", "https", False, False),
        ("*.example.com", "https", True, True),
    ]


@pytest.mark.parametrize(
    ("rule", "host", "allowed"),
    [
        ("a.example.com", "a.example.com", True),
        ("A.Example.com", "a.example.com", True),
        ("a.example.com", "b.a.example.com", False),
        ("a.example.com", "axexample.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "b.a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.example.com.evil.net", False),
        ("*.example.com", "evilexample.com", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("*", "a.example.com", True),
        ("*", "127.0.0.1", False),
        ("*", "localhost", False),
        ("*", "[::1]", False),
    ],
)
def test_a_rule_admits_the_hosts_that_it_names(rule: str, host: str, allowed: bool) -> None:
    assert HttpsPolicy(allowed_hosts=(rule,)).allows(host) is allowed


@pytest.mark.parametrize(
    "rule",
    [
        *("https://a.example.com", "a.example.com:443", "a.example.com/x", "127.0.0.1", "[::1]"),
        *("localhost", "", "*.", "**", "a.*.com", "*example.com", "*.*.com", "*.com:443", "**.a.b"),
    ],
)
def test_a_rule_that_is_no_host_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError, match="neither a host nor a pattern"):
        HttpsPolicy(allowed_hosts=(rule,))


def test_a_host_is_named_once() -> None:
    with pytest.raises(ValidationError, match="named twice"):
        HttpsPolicy(allowed_hosts=("a.example.com", "A.example.com"))
