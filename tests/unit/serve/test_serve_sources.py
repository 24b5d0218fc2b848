"""What a text in a request names as an image, and which texts name none."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import ImageRef
from workers.serve.errors import ApiError
from workers.serve.images import Inline, Located
from workers.serve.reading.sources import SHOWN, given_of

ODD_BYTES = bytes(range(256)) * 3 + b"\xfb\xff"
BASE64 = base64.b64encode(ODD_BYTES).decode()


def bytes_of(text: str) -> bytes:
    given_image = given_of(text, "image")
    assert isinstance(given_image, Inline)
    assert given_image.copied
    return given_image.body


def refusal(text: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        given_of(text, "images[3]")
    assert (caught.value.status, caught.value.code) == (400, "invalid_image")
    assert caught.value.param == "images[3]"
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        BASE64.rstrip("="),
        base64.urlsafe_b64encode(ODD_BYTES).decode(),
        base64.encodebytes(ODD_BYTES).decode(),
        f"data:image/jpeg;base64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"DATA:image/png;charset=utf-8;name=a.png;BASE64,{BASE64}",
        f"data:image/jpeg;base64,{quote(BASE64, safe='')}",
    ],
)
def test_bytes_come_as_base64_of_every_kind(text: str) -> None:
    assert bytes_of(text) == ODD_BYTES


@given(st.binary(min_size=1))
def test_base64_gives_the_same_bytes_with_and_without_padding(body: bytes) -> None:
    text = base64.b64encode(body).decode()
    assert bytes_of(text) == bytes_of(text.rstrip("=")) == body


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s3://images/a/b c.jpg", ImageRef("images", "a/b c.jpg", ())),
        ("S3://images/%41.jpg", ImageRef("images", "%41.jpg", ())),
        ("s3://images/a?b=c#d", ImageRef("images", "a?b=c#d", ())),
        ("s3://images/a?versionId=v1", ImageRef("images", "a", (), version_id="v1")),
        (
            "s3://images/a?versionId=b?versionId=v1",
            ImageRef("images", "a?versionId=b", (), version_id="v1"),
        ),
        ("s3://images//", ImageRef("images", "/", ())),
        (
            "https://CDN.example.com/a%20b.jpg?w=1#top",
            ImageRef("cdn.example.com", "a%20b.jpg", (), scheme="https", query="w=1"),
        ),
    ],
)
def test_an_object_is_named_by_its_bucket_and_its_key_as_it_is_stored(
    text: str, ref: ImageRef
) -> None:
    assert given_of(text, "image") == Located(ref)


def test_an_image_on_a_web_server_is_named_by_host_path_and_query() -> None:
    web = ImageRef("a.example.com", "x%20y.jpg", (), scheme="https", query="signature=1")
    assert given_of("HTTPS://A.example.com/x%20y.jpg?signature=1", "image") == Located(web)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://127.0.0.1/x", "is not a host's name"),
        ("https://me:word@a.example.com/x", "holds a user or a password"),
        ("https://a.example.com:8443/x", "another port than 443"),
        ("photo.jpg", "neither base64 nor an address"),
        ("C:\\photos\\cat.jpg", "this scheme is not read"),
        ("ftp://host/cat.jpg", "this scheme is not read"),
        ("http://host/cat.jpg", "use https://"),
        ("https://127.0.0.1/cat.jpg", "no IP address"),
        ("https://user:secret@example.com/cat.jpg", "user or a password"),
        ("data:image/svg+xml,%3Csvg/%3E", "base64"),
        ("data:image/png;base64", "base64"),
        ("data:image/png;base64,", "empty"),
        ("", "empty"),
        ("s3://images", "s3://bucket/key"),
        ("s3:///key", "s3://bucket/key"),
        ("s3://images/key?versionId=", "s3://bucket/key"),
    ],
)
def test_a_text_that_names_no_image_is_refused_with_what_to_send(text: str, says: str) -> None:
    assert says in refusal(text).message


@pytest.mark.parametrize(
    "text", ["data:text/plain," + "a" * 10_000, "." * 10_000, "s3://" + "b" * 10_000]
)
def test_a_message_never_repeats_a_long_text(text: str) -> None:
    assert len(refusal(text).message) < SHOWN + 200


def test_a_message_never_repeats_the_query_of_an_address() -> None:
    for address in ("http://host/cat.jpg", "https://10.0.0.1/cat.jpg", "ftp://host/cat.jpg"):
        assert "secret" not in refusal(f"{address}?signature=secret").message
