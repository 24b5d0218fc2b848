"""Which S3 stores are read, with which identity, and which buckets of them. Imports no client
library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.errors import Reject
from pipeline.formats.reference import check_bucket
from pipeline.policy import Policy, Tier

_BUCKET = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
"""Names that can be part of a URL without changing its meaning. Servers are stricter."""

STORE_NAME = re.compile(r"[a-z0-9-]{1,40}")

_PATTERN = re.compile(r"[a-z0-9.*-]+")
"""Characters of bucket names in references, and ``*`` for any of them."""


class S3Policy(Policy):
    """The object store and the buckets that may be read.

    Credentials are not settings. They come from boto3's chain (environment, shared files, web
    identity, container, instance).
    """

    tier = Tier.TUNING

    # A refused URL may hold a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    allowed_buckets: Annotated[tuple[str, ...], Tier.EVERYDAY] = Field(
        (),
        description="Buckets that references may name. `*` stands for any characters "
        "(`uploads-*`). There is no default, because a message must not choose what the worker's "
        "credentials read.",
    )
    endpoint: Annotated[str | None, Tier.EVERYDAY] = Field(
        None,
        description="URL of an S3-compatible server, without bucket or path "
        "(`https://s3.example.com`). Unset: AWS. Only an `http://` URL turns TLS off.",
    )
    region: Annotated[str | None, Tier.EVERYDAY] = Field(
        None,
        description="Region of the buckets. Unset: the region of the AWS environment or profile, "
        "otherwise us-east-1.",
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="Where the bucket's name stands in the URL: in the `path`, or in the host "
        "name (`virtual`). `auto` is virtual for AWS and path for your own endpoint.",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of the certificate authorities that sign the endpoint's "
        "certificate. Unset: the public authorities.",
    )
    proxy_url: str | None = Field(
        None,
        description="HTTP proxy for reaching the store, without credentials. The variables "
        "HTTPS_PROXY and HTTP_PROXY are ignored. Without a proxy, redirects to another host are "
        "not followed. With a proxy, the proxy decides which hosts can be reached.",
    )
    profile: str | None = Field(
        None, description="Profile of the shared AWS files that gives credentials and region."
    )
    role_arn: Annotated[str | None, Tier.EVERYDAY] = Field(
        None,
        description="Role to assume with these credentials. The role's session is renewed before "
        "it expires.",
    )
    external_id: str | None = Field(
        None, description="External id that the role's trust policy demands."
    )
    requester_pays: bool = Field(
        False,
        description="Agree to pay for requests. A requester-pays bucket refuses requests without "
        "this.",
    )
    connect_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        3.0, description="Seconds within which a connection must be established.", gt=0
    )
    read_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        10.0,
        description="Seconds that the store may stay silent within a response. fetch.deadline_s "
        "bounds the whole object.",
        gt=0,
    )

    @field_validator("endpoint", "proxy_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        plain = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.username is None
            and parts.path in ("", "/")
            and not parts.query
            and not parts.fragment
        )
        if not plain:
            raise ValueError(
                "must be http:// or https://, a host and perhaps a port, with no path and no "
                "credentials; credentials come from the AWS environment or files"
            )
        return url.rstrip("/")

    @field_validator("allowed_buckets")
    @classmethod
    def _bucket_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            if not _is_rule(rule):
                raise ValueError(
                    f"{rule!r} is neither a bucket's name nor a pattern of one; write names of 3 "
                    "to 63 lower-case letters, digits, dots and hyphens, with `*` for any of them, "
                    "and no s3://"
                )
        return rules

    @model_validator(mode="after")
    def _complete(self) -> S3Policy:
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id: has no use without role_arn; set both or neither")
        return self

    @property
    def store_name(self) -> str:
        """The store's name in logs and metrics."""
        return "s3"

    @property
    def section(self) -> str:
        """The store's section of the settings, as messages name it."""
        return "s3"

    @property
    def allow_list(self) -> str:
        """The setting that ``allows`` comes from, as messages name it."""
        return f"{self.section}.allowed_buckets"

    def allows(self, bucket: str) -> bool:
        """Whether a reference may name this bucket."""
        return _BUCKET.fullmatch(bucket) is not None and any(
            _compiled(rule).fullmatch(bucket) for rule in self.allowed_buckets
        )

    def in_host(self, bucket: str) -> bool:
        """Whether the bucket's name is part of the host name. No certificate of AWS matches a host
        name with the dots of a bucket in it."""
        if self.addressing == "auto":
            return self.endpoint is None and "." not in bucket
        return self.addressing == "virtual"


class _Named(Policy):
    name: str = Field(
        "",
        description="Name of the store in messages, logs and metrics: 1 to 40 lower-case letters, "
        "digits and hyphens. Required.",
        validate_default=True,
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not STORE_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a store's name; write 1 to 40 lower-case letters, digits and "
                "hyphens"
            )
        return name


class NamedS3Policy(S3Policy, _Named):  # in this order, so that the name comes first
    """A further store: a name, and all keys of the section `s3`.

    A reference is read from the first entry whose `allowed_buckets` name its bucket. If no entry
    names it, the reference is read from the store of the section `s3`.
    """

    @property
    def store_name(self) -> str:
        return self.name

    @property
    def section(self) -> str:
        return f"stores[{self.name}]"


def in_order(stores: Sequence[NamedS3Policy], last: S3Policy) -> tuple[S3Policy, ...]:
    """The stores in the order in which a bucket is looked up. The store of the section `s3` comes
    last, if it has buckets that may be read."""
    return (*stores, last) if last.allowed_buckets else tuple(stores)


NOTHING_READABLE = (
    "s3.allowed_buckets: is empty, so nothing may be read; name the buckets that references may "
    'use, for example ["uploads", "archive-*"]'
)
"""What is wrong with settings that name no bucket."""


def check_stores(
    stores: Sequence[NamedS3Policy], last: S3Policy, *, must_read: bool = False
) -> None:
    """Check that each store has a name and buckets of its own. ``must_read``: also that there is a
    store.

    Raises:
        ValueError: the setting and what to write, as pydantic's validators raise it. An entry of
            ``stores`` is named by its index, because its name may be the problem.
    """
    is_left_out = last == S3Policy() if stores else not must_read
    if not last.allowed_buckets and not is_left_out:
        raise ValueError(NOTHING_READABLE)
    for index, store in enumerate(stores):
        if not store.allowed_buckets:
            raise ValueError(
                f"stores[{index}].allowed_buckets: is empty, so nothing is read from store "
                f"{store.name}; name its buckets, or leave the store out"
            )
        if store.name in ("s3", *(other.name for other in stores[:index])):
            taken = "is that of the section s3" if store.name == "s3" else "is taken by another"
            raise ValueError(f"stores[{index}].name: {store.name} {taken}; write another name")
    ordered = in_order(stores, last)
    for index, policy in enumerate(ordered):
        key = "s3" if policy is last else f"stores[{index}]"
        for rule in policy.allowed_buckets:
            _check_that_it_matches(rule, key, ordered[:index])


def _check_that_it_matches(rule: str, key: str, before: Sequence[S3Policy]) -> None:
    """Refuse a rule if an earlier store already has all of its buckets. A wider pattern that
    matches the rule's own text has all buckets of the rule."""
    for store in before:
        for wider in store.allowed_buckets:
            if _compiled(wider).fullmatch(rule):
                raise ValueError(
                    f"{key}.allowed_buckets: {rule} never matches, for {wider} of {store.section} "
                    "comes first; order the stores from narrow patterns to wide ones, or leave "
                    "one of the two out"
                )


def _is_rule(rule: str) -> bool:
    """Whether the rule can match a bucket that a reference may name."""
    if "*" in rule:
        return _PATTERN.fullmatch(rule) is not None
    try:
        check_bucket(rule, "")
    except Reject:
        return False
    return True


@lru_cache(maxsize=1024)
def _compiled(rule: str) -> re.Pattern[str]:
    # A run of `*` counts as one, because adjacent repetitions would backtrack without end.
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", rule)))
