"""Listings against a server on loopback that lists any keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import pytest

from pipeline.adapters.parquet.cutting import listed
from pipeline.adapters.s3.listing import S3Listing
from pipeline.adapters.s3.pages import read_page
from pipeline.errors import Halt, Retry, StoreDenied
from pipeline.ports import ListedPage
from tests.rigs.services.listing_server import ListingServer
from tests.rigs.services.scripted_s3 import answer, credentials, error, policy

NUMBERED = [f"p/{at:05}.jpg" for at in range(3_000)]
ODD = sorted(
    [
        *("p//a", "p/../b", "p/./c", "p/", "p/a+b c", "p/%41", "p/100%", "p/\x01\x1f", "p/\t\n"),
        *("p/ blank", "p/blank ", "p/&lt;<>\"'", "p/é", "p/\ufffe", "p/\U0010ffff", "p/\u2028"),
        *("p/" + "é" * 511, "p/" + "x" * 1022, "p/a/b/c/d/e", "p/a/", "p/\ud7ff\ue000"),
    ]
)

Opened = Callable[..., tuple[ListingServer, S3Listing]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:
        stack.enter_context(credentials())

        def open_both(
            keys: Sequence[str], requests: int = 8, page_keys: int = 10, wait: Wait = _no_wait
        ) -> tuple[ListingServer, S3Listing]:
            server = stack.enter_context(closing(ListingServer(keys, page_keys=page_keys)))
            listing = S3Listing(policy(server.endpoint), requests, wait)
            return server, stack.enter_context(closing(listing))

        yield open_both


Wait = Callable[[float], object]


def _no_wait(_: float) -> None: ...


def keys_of(pages: Iterator[ListedPage]) -> list[str]:
    return [key for page in pages for key in page.keys]


@pytest.mark.parametrize("requests", [1, 2, 16])
def test_each_key_is_listed_once_with_its_etag_and_size(opened: Opened, requests: int) -> None:
    _, listing = opened(NUMBERED, requests, page_keys=100)
    found: dict[str, tuple[str | None, int]] = {}
    for page in listing.pages("images", "p/"):
        assert page.bucket == "images"
        for key, etag, size in zip(page.keys, page.etags, page.sizes_bytes, strict=True):
            assert key not in found
            found[key] = etag, size
    assert found == {key: (f"{place:032x}", place) for place, key in enumerate(NUMBERED)}


@pytest.mark.parametrize("requests", [1, 8])
@pytest.mark.parametrize("page_keys", [1, 4, 1000])
def test_odd_keys_are_listed_as_they_are(opened: Opened, requests: int, page_keys: int) -> None:
    _, listing = opened(ODD, requests, page_keys)
    assert sorted(keys_of(listing.pages("images", "p/"))) == ODD


def test_a_prefix_need_not_end_at_a_slash_and_may_hold_nothing(opened: Opened) -> None:
    _, listing = opened([*NUMBERED, "q/1"])
    assert sorted(keys_of(listing.pages("images", "p/0000"))) == NUMBERED[:10]
    assert keys_of(listing.pages("images", "p/none")) == []


def test_a_failing_store_is_asked_again_and_a_request_to_slow_down_is_heard(
    opened: Opened,
) -> None:
    waits: list[float] = []
    server, listing = opened(NUMBERED[:30], wait=waits.append)
    server.refusals = [
        error("503 Slow Down", "SlowDown", Retry_After="30"),
        error("500 Internal", "InternalError"),
        answer("200 OK", b"<html></html>"),
        answer("200 OK", b"<ListBucketResult><Contents><Key>p/x"),
        answer("200 OK", b"<Error><Code>InternalError</Code></Error>"),
    ]
    assert sorted(keys_of(listing.pages("images", "p/"))) == NUMBERED[:30]
    assert len(waits) == 5
    assert max(waits) == 30


def test_a_store_that_fails_for_good_ends_the_listing(opened: Opened) -> None:
    server, listing = opened(NUMBERED)
    server.refusals = [error("500 Internal", "InternalError")] * 1000
    with pytest.raises(Retry) as caught:
        keys_of(listing.pages("images", "p/"))
    assert caught.value.code == "fetch.failed"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("403 Forbidden", "AccessDenied", "fetch.forbidden"),
        ("404 Not Found", "NoSuchBucket", "fetch.no_bucket"),
    ],
)
def test_a_refusal_ends_the_listing_at_once(
    opened: Opened, status: str, code: str, expected: str
) -> None:
    waits: list[float] = []
    server, listing = opened(NUMBERED, wait=waits.append)
    server.refusals = [error(status, code)] * 1000
    with pytest.raises(StoreDenied) as caught:
        keys_of(listing.pages("images", "p/"))
    assert caught.value.code == expected
    assert waits == []


def test_keys_out_of_order_are_told_and_one_request_at_a_time_lists_them(opened: Opened) -> None:
    unsorted = ["p/b", "p/a", "p/c"]
    _, listing = opened(unsorted)
    with pytest.raises(Halt) as caught:
        keys_of(listing.pages("images", ""))
    assert caught.value.code == "backfill.unlistable"
    assert "listing_requests" in caught.value.message
    _, listing = opened(unsorted, requests=1)
    assert keys_of(listing.pages("images", "")) == unsorted


def test_a_caller_that_needs_no_more_ends_the_listing(opened: Opened) -> None:
    server, listing = opened(NUMBERED, page_keys=1)
    pages = listing.pages("images", "p/")
    next(pages)
    with closing(pages):
        pass
    assert len(server.requests) < len(NUMBERED)


def test_pages_become_rows() -> None:
    (rows,) = listed(
        [ListedPage("b", ["k", "l"], ["e", None], [3, 0]), ListedPage("c", [], [], [])]
    )
    assert rows.select(["bucket", "key", "etag", "size_bytes", "version_id"]).to_pylist() == [
        {"bucket": "b", "key": "k", "etag": "e", "size_bytes": 3, "version_id": None},
        {"bucket": "b", "key": "l", "etag": None, "size_bytes": 0, "version_id": None},
    ]


def _page(inside: str) -> bytes:
    return f"<ListBucketResult>{inside}</ListBucketResult>".encode()


OBJECT = "<Contents>\n <Key> a+b</Key>\n <Size> 3 </Size></Contents>"


def test_keys_that_a_store_did_not_encode_are_taken_as_they_are() -> None:
    page = read_page(_page(OBJECT))
    assert page is not None
    assert (page.keys, page.etags, page.sizes) == ([" a+b"], [None], [3])
    page = read_page(_page(OBJECT + "<EncodingType>url</EncodingType>"))
    assert page is not None
    assert page.keys == ["a b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<Error><Code>x</Code></Error>",
        _page("<IsTruncated>true</IsTruncated>"),
        _page("<Contents><Key>a</Key></Contents>"),
        _page("<Contents><Size>1</Size></Contents>"),
        _page(OBJECT.replace("3", "three")),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + _page(""),
        _page(OBJECT)[:-1],
    ],
)
def test_what_is_no_whole_page_is_no_page(body: bytes) -> None:
    assert read_page(body) is None


def test_a_key_that_is_no_utf_8_is_an_error() -> None:
    body = _page(
        "<EncodingType>url</EncodingType><Contents><Key>%FF</Key><Size>1</Size></Contents>"
    )
    with pytest.raises(UnicodeDecodeError):
        read_page(body)
