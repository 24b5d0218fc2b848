"""Which web servers are read, and how patiently. Imports no client library."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from pipeline.formats.https_url import host_of, is_host
from pipeline.policy import Policy, Tier

SECTION = "https"
ALLOW_LIST = "https.allowed_hosts"
"""The setting that ``allows`` comes from, as messages name it."""

ANY = "*"
_BELOW = "*."


class HttpsPolicy(Policy):
    """Web servers whose images may be read, over `https://` on port 443 and without credentials.

    Whatever a host's name resolves to, connections are opened to public addresses alone.
    """

    tier = Tier.TUNING

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that `https://` references may name, and redirects may lead to. "
        "`*.example.com` stands for every host below example.com, and `*` for every host. Name the "
        "hosts that matter: the worker waits for a named host until it is back, but gives up the "
        "images of a pattern's host that stays away while other hosts answer. Empty: no "
        "`https://` reference is read.",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of certificate authorities that are trusted besides the public ones.",
    )
    max_redirects: Annotated[int, Tier.EXPERT] = Field(
        3,
        description="Redirects that are followed for one image. Each must lead to an allowed host, "
        "over https.",
        ge=0,
        le=10,
    )
    connect_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        5.0,
        description="Seconds within which a host's address must be known and a connection be "
        "established.",
        gt=0,
    )
    read_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        10.0,
        description="Seconds that a server may stay silent within an answer. fetch.deadline_s "
        "bounds the whole image.",
        gt=0,
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _host_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        normal = []
        for rule in rules:
            below = rule.startswith(_BELOW)
            host = rule if rule == ANY else host_of(rule.removeprefix(_BELOW))
            if host is None:
                raise ValueError(
                    f"{rule!r} is neither a host nor a pattern of hosts; write images.example.com, "
                    "*.example.com or *, with no https://, no port and no IP address"
                )
            normal.append(_BELOW + host if below else host)
        if len(set(normal)) < len(normal):
            raise ValueError("a host is named twice; name it once")
        return tuple(normal)

    def allows(self, host: str) -> bool:
        """Whether a reference or a redirect may name this host."""
        return any(matches(rule, host) for rule in self.allowed_hosts)


def is_pattern(rule: str) -> bool:
    return rule.startswith(ANY)


def matches(rule: str, host: str) -> bool:
    """Whether a rule of ``allowed_hosts`` admits a host."""
    return is_host(host) and _compiled(rule).fullmatch(host) is not None


@lru_cache(maxsize=1024)
def _compiled(rule: str) -> re.Pattern[str]:
    if not is_pattern(rule):
        return re.compile(re.escape(rule))
    return re.compile(".+" + re.escape(rule.removeprefix(ANY)))
