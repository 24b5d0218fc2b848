"""Which stores and buckets the settings let in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.adapters.s3.policy import S3Policy


def policy(**fields: Any) -> S3Policy:
    return S3Policy(**{"allowed_buckets": ["images"]} | fields)


@pytest.mark.parametrize(
    ("rules", "bucket", "allowed"),
    [
        (["images"], "images", True),
        (["images"], "images2", False),
        (["images"], "my-images", False),
        (["images"], "Images", False),
        (["uploads-*"], "uploads-eu", True),
        (["uploads-*"], "uploads-", False),
        (["uploads-*"], "uploads", False),
        (["uploads-*"], "x-uploads-eu", False),
        (["*-raw"], "camera-raw", True),
        (["a*b*c"], "a-b-c", True),
        (["a*b*c"], "a-c-b", False),
        (["a.b"], "a.b", True),
        (["a.b"], "axb", False),
        (["images", "*.eu"], "x.eu", True),
        (["*"], "anything", True),
    ],
)
def test_a_bucket_is_allowed_by_its_name_or_a_pattern(
    rules: list[str], bucket: str, allowed: bool
) -> None:
    assert policy(allowed_buckets=rules).allows(bucket) is allowed


@pytest.mark.parametrize(
    "bucket",
    ["", "..", "a/../b", "a/b", "a?b", "a#b", "a b", "a\nb", "a..b", "-ab", "a%2Fb", "user@host",
     "arn:aws:s3:eu-west-1:1:accesspoint/x", "x" * 256],
)  # fmt: skip
def test_no_pattern_lets_in_what_could_change_the_url(bucket: str) -> None:
    assert not policy(allowed_buckets=["*"]).allows(bucket)


def test_a_pattern_of_many_stars_is_matched_in_no_time() -> None:
    rule = "*" * 200 + "a*a*a*b"
    assert not policy(allowed_buckets=[rule]).allows("a" * 200)


@pytest.mark.parametrize(
    "rule",
    ["", "s3://images", "images/", "ima ges", "im[a]ges", "images?", "Images", "a_b",
     "Uploads-*", "ab", "x" * 64, "a..b", "10.0.0.1"],
)  # fmt: skip
def test_a_rule_that_is_no_name_or_pattern_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError, match="neither a bucket's name nor a pattern"):
        policy(allowed_buckets=[rule])


@pytest.mark.parametrize(
    "url", ["https://s3.example.com", "http://127.0.0.1:9000/", "http://[::1]:9"]
)
def test_an_endpoint_is_a_plain_url(url: str) -> None:
    assert policy(endpoint=url).endpoint == url.rstrip("/")


@pytest.mark.parametrize("field", ["endpoint", "proxy_url"])
@pytest.mark.parametrize(
    "url",
    ["s3.example.com", "ftp://s3.example.com", "https://", "https://key:secret@s3.example.com",
     "https://s3.example.com/bucket", "https://s3.example.com/?a=b", "https://s3.example.com/#a"],
)  # fmt: skip
def test_an_endpoint_with_more_than_host_and_port_is_refused(field: str, url: str) -> None:
    with pytest.raises(ValidationError, match=r"no path and no credentials") as caught:
        policy(**{field: url})
    assert "secret" not in str(caught.value)


def test_an_external_id_without_a_role_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"external_id: has no use without role_arn"):
        policy(external_id="agreed")


@pytest.mark.parametrize(
    ("fields", "bucket", "in_host"),
    [
        ({}, "images", True),
        ({}, "images.eu", False),
        ({"endpoint": "https://s3.example.com"}, "images", False),
        ({"endpoint": "https://s3.example.com", "addressing": "virtual"}, "images.eu", True),
        ({"addressing": "path"}, "images", False),
    ],
)
def test_buckets_of_aws_stand_in_the_host_and_others_in_the_path(
    fields: dict[str, Any], bucket: str, in_host: bool
) -> None:
    assert policy(**fields).in_host(bucket) is in_host
