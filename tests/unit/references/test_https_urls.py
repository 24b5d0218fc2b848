"""References to images on web servers: how URLs are read, and what becomes of their parts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.formats.https_url import MAX_QUERY_BYTES, HttpsUrl, host_of, is_host, parse
from pipeline.records import DeadLetter, ImageRef, Partition, Position, Record
from pipeline.references import ReferencesPolicy
from pipeline.references import parse as entries_of
from pipeline.replay import Letter, input_record
from pipeline.routes import RoutePolicy, Router

SECRET = "X-Amz-Signature=5feceb66"


def read(entry: Any, router: Router | None = None) -> ImageRef | DeadLetter:
    record = Record(
        Position(Partition("refs", 0), 7), 1_700_000_000_000, b"k", json.dumps(entry).encode()
    )
    [found] = entries_of(record, ReferencesPolicy(), router or Router([], ["shapes"]))
    assert isinstance(found.content, ImageRef | DeadLetter)
    return found.content


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a.example.com/x.jpg", ("a.example.com", "x.jpg", None)),
        ("HTTPS://A.Example.COM:443/X.jpg?", ("a.example.com", "X.jpg", None)),
        ("https://a.example.com", ("a.example.com", "", None)),
        ("https://a.example.com?x=1", ("a.example.com", "", "x=1")),
        ("https://a.example.com//a/../b%2Fc?d=%7e#e", ("a.example.com", "/a/../b%2Fc", "d=%7e")),
        ("https://a.example.com/x?a?b/c=[d|e]", ("a.example.com", "x", "a?b/c=[d|e]")),
        ("https://a_b.example.com/x", ("a_b.example.com", "x", None)),
        ("https://bücher.example/x", ("xn--bcher-kva.example", "x", None)),
        ("https://BÜCHER.example/x", ("xn--bcher-kva.example", "x", None)),
        ("https://a.example。com/x", ("a.example.com", "x", None)),
    ],
)
def test_a_url_is_read_into_its_parts(url: str, parts: tuple[str, str, str | None]) -> None:
    assert parse(url, "uri") == HttpsUrl(*parts)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a.example.com/x", "is not an https:// URL"),
        ("https:/a.example.com/x", "is not an https:// URL"),
        ("//a.example.com/x", "is not an https:// URL"),
        ("https:///x", "is not a host's name"),
        ("https://localhost/x", "is not a host's name"),
        ("https://127.0.0.1/x", "is not a host's name"),
        ("https://127.1/x", "is not a host's name"),
        ("https://0x7f.0x1/x", "is not a host's name"),
        ("https://2130706433/x", "is not a host's name"),
        ("https://①②⑦.0.0.1/x", "is not a host's name"),
        ("https://[::1]/x", "is not a host's name"),
        ("https://[::1]:8443/x", "is not a host's name"),
        ("https://a.example.com./x", "is not a host's name"),
        ("https://a..example.com/x", "is not a host's name"),
        ("https://-a.example.com/x", "is not a host's name"),
        ("https://" + "a." * 127 + "com/x", "is not a host's name"),
        ("https://straße.example/x", "is not a host's name"),
        ("https://a.example.com\\@b.example.net/x", "a user or a password"),
        ("https://a.example.com\\b/x", "is not a host's name"),
        ("https://a.example.com%2eb/x", "is not a host's name"),
        ("https://me@a.example.com/x", "a user or a password"),
        ("https://me:secret@a.example.com/x", "a user or a password"),
        ("https://a.example.com:80/x", "another port than 443"),
        ("https://a.example.com:8443/x", "another port than 443"),
        ("https://a.example.com:0443/x", "another port than 443"),
        ("https://a.example.com/a b", "a path with a character"),
        ("https://a.example.com/é", "a path with a character"),
        ("https://a.example.com/a%2", "a path with a character"),
        ("https://a.example.com/a\r\nHost: b", "a path with a character"),
        ("https://a.example.com/a\\b", "a path with a character"),
        ("https://a.example.com/x?a b", "a query with a character"),
        ("https://a.example.com/x?a=é", "a query with a character"),
        ("https://a.example.com/" + "x" * 1025, "a path of 1,025 characters"),
        ("https://a.example.com/?" + "x" * (MAX_QUERY_BYTES + 1), "a query of 4,097 characters"),
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str, says: str) -> None:
    with pytest.raises(Reject) as caught:
        parse(url, "uri")
    assert caught.value.code == "reference.invalid"
    assert caught.value.message.startswith("uri: ")
    assert says in caught.value.message
    assert "secret" not in caught.value.message


@given(st.text())
def test_what_is_accepted_as_a_host_is_one_and_stays_one(text: str) -> None:
    host = host_of(text)
    if host is not None:
        assert host.isascii()
        assert is_host(host)
        assert host_of(host) == host


@given(st.text(st.sampled_from("abA1.:/@?#[]%\\ é\n"), max_size=30))
def test_a_url_that_is_accepted_is_read_alike_again(rest: str) -> None:
    try:
        url = parse(f"https://{rest}", "uri")
    except Reject:
        return
    again = f"https://{url.host}/{url.path}" + ("" if url.query is None else f"?{url.query}")
    assert parse(again, "uri") == url


def test_a_reference_names_host_path_and_query() -> None:
    ref = read({"uri": f"https://A.example.com/a%20b.jpg?{SECRET}", "etag": '"e1"', "id": "i"})
    assert isinstance(ref, ImageRef)
    assert (ref.scheme, ref.bucket, ref.key, ref.query) == (
        "https",
        "a.example.com",
        "a%20b.jpg",
        SECRET,
    )
    assert (ref.etag, ref.id) == ("e1", "i")
    assert ref.uri == "https://a.example.com/a%20b.jpg"
    assert ref.full_key == f"a%20b.jpg?{SECRET}"
    assert SECRET not in repr(ref)
    assert replace(ref, id=None).subject == ref.uri


def test_a_query_may_stand_in_a_field_of_its_own() -> None:
    ref = read({"uri": "https://a.example.com/x", "query": SECRET})
    assert isinstance(ref, ImageRef)
    assert ref == read({"uri": f"https://a.example.com/x?{SECRET}"})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"uri": f"https://a.example.com/x?{SECRET}", "query": "a"}, "together with a query"),
        ({"uri": "https://a.example.com/x", "query": f"a {SECRET}"}, "query: has a query"),
        ({"uri": "https://a.example.com/x", "query": 1}, "query: is"),
        ({"uri": "https://a.example.com/x", "version_id": "v"}, "version_id: has no meaning"),
        ({"uri": "https://a.example.com/x", "key": "x"}, "together with bucket or key"),
    ],
)
def test_fields_that_do_not_go_with_a_url_are_refused(fields: dict[str, Any], says: str) -> None:
    letter = read(fields)
    assert isinstance(letter, DeadLetter)
    assert letter.code == "reference.invalid"
    assert says in letter.message
    assert SECRET not in letter.message


def test_a_field_query_beside_an_object_in_s3_is_ignored_as_before() -> None:
    ref = read({"uri": "s3://photos/x", "query": "a"})
    assert isinstance(ref, ImageRef)
    assert (ref.scheme, ref.query) == ("s3", None)


def test_routes_see_the_host_and_the_path() -> None:
    router = Router(
        [
            RoutePolicy(bucket="a.example.com", key="cats/*", label_sets=("shapes",), tenant="t"),
            RoutePolicy(label_sets=("shapes",)),
        ],
        ["shapes"],
    )
    cat = read({"uri": "https://a.example.com/cats/x?y"}, router)
    dog = read({"uri": "https://a.example.com/dogs/x?y"}, router)
    assert isinstance(cat, ImageRef)
    assert isinstance(dog, ImageRef)
    assert (cat.tenant, dog.tenant) == ("t", None)


def test_a_replay_asks_for_the_same_url() -> None:
    ref = read({"uri": f"https://a.example.com/x?{SECRET}", "metadata": {"a": 1}, "tenant": "t"})
    assert isinstance(ref, ImageRef)
    entry = Record(Position(Partition("refs", 0), 7), 5, b"k", b"")
    [origin] = [
        each.origin for each in entries_of(entry, ReferencesPolicy(), Router([], ["shapes"]))
    ]
    builder = EventBuilder(EventContext("c", "g", {"refs": "id"}, "1"), EventsPolicy())
    [published] = builder.records(origin, DeadLetter("fetch.not_found", "gone", 1, ref=ref))
    letter = Letter.of(Record(entry.position, 5, published.key, published.value, published.headers))
    assert letter is not None
    sent = input_record(letter)
    assert read(json.loads(sent.value or b"")) == ref
