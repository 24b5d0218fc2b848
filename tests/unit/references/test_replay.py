"""Which dead letters are replayed, and as what."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.headers import HEADERS
from pipeline.events.types import EventType
from pipeline.records import (
    Asked,
    DeadLetter,
    Entry,
    Headers,
    ImageRef,
    Origin,
    OutputRecord,
    Partition,
    Position,
    Record,
    Replay,
)
from pipeline.references import ReferencesPolicy, parse
from pipeline.replay import (
    Found,
    InputRecord,
    Left,
    Letter,
    Search,
    Selection,
    input_record,
    is_marker,
    marker_headers,
    obstacle,
)
from pipeline.routes import RoutePolicy, Router

TOPIC = "images"
CLUSTER, GROUP = "c1", "g"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGIN = Origin(Position(Partition(TOPIC, 3), 1234), 2, 1_700_000_000_000, b"a key", TRACE)
REF = ImageRef("photos", "cat.jpg", ("shapes",), etag="e1", id="upload-1", metadata={"album": 1})
OF_REFERENCE = DeadLetter("fetch.not_found", "gone", 1, ref=REF)
RAW = Record(
    ORIGIN.position,
    5,
    b"raw key",
    b"no json",
    (("trace", b"1"), ("trace", b"2"), ("dlq.code", b"of the sender")),
)
OF_RECORD = DeadLetter("reference.not_json", "no", 1)
"""What became of ``RAW``."""
WRITTEN_MS = 1_800_000_000_000

builder = EventBuilder(
    EventContext(CLUSTER, GROUP, {TOPIC: "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"}, "0.1.0"),
    EventsPolicy(),
)


def on_topic(record: OutputRecord, partition: int = 7) -> Record:
    """The record as it is read back from the dead-letter topic."""
    position = Position(Partition("dead-letters", partition), 99)
    return Record(position, WRITTEN_MS, record.key, record.value, record.headers)


def letter_of(
    dead: DeadLetter,
    record: Record | None = None,
    origin: Origin = ORIGIN,
    *,
    as_routed: bool = False,
) -> Letter:
    (published,) = builder.records(origin, dead, record)
    letter = Letter.of(on_topic(published), as_routed=as_routed)
    assert letter is not None
    return letter


def why_not(
    letter: Letter, group: str = GROUP, topic: str = TOPIC, partitions: int = 4
) -> Left | None:
    return obstacle(letter, CLUSTER, group, {topic: partitions}, 3)


def parsed(sent: InputRecord) -> Entry:
    """What a worker makes of the replayed record."""
    record = Record(Position(Partition(sent.topic, 0), 0), 9, sent.key, sent.value, sent.headers)
    route = RoutePolicy(label_sets=("shapes",))
    (entry,) = parse(record, ReferencesPolicy(), Router([route], ["shapes"]))
    return entry


def test_a_reference_comes_again_by_itself_and_says_what_it_repeats() -> None:
    letter = letter_of(OF_REFERENCE)
    sent = input_record(letter)
    assert (sent.topic, sent.partition, sent.key) == (TOPIC, 3, b"a key")
    again = parsed(sent)
    origin = Origin(Position(Partition(TOPIC, 0), 0), 0, 9, b"a key", TRACE, Replay(letter.id, 1))
    assert again == Entry(origin, replace(REF, asked=Asked(("shapes",))))


def refs_of(value: bytes, *routes: RoutePolicy) -> tuple[ImageRef, ...]:
    """What a worker whose label sets are those of the routes makes of an input record.

    Raises:
        Reject: the routes refuse it.
    """
    record = Record(Position(Partition(TOPIC, 3), 1), 5, b"a key", value, ())
    loaded = {n: None for r in routes for n in (*r.label_sets, *r.allowed_label_sets)}
    refs = []
    for entry in parse(record, ReferencesPolicy(), Router(routes, loaded)):
        if isinstance(entry.content, DeadLetter):
            raise Reject(entry.content.code, entry.content.message)
        assert isinstance(entry.content, ImageRef)
        refs.append(entry.content)
    return tuple(refs)


def after_replay(
    value: bytes,
    before: RoutePolicy,
    after: RoutePolicy,
    *,
    told: bool = True,
    as_routed: bool = False,
) -> ImageRef:
    """What becomes of a reference that died under one route and is replayed under another.
    ``told``: its letter says what was asked for."""
    (ref,) = refs_of(value, before)
    ref = ref if told else replace(ref, asked=None)
    letter = letter_of(replace(OF_REFERENCE, ref=ref), as_routed=as_routed)
    (again,) = refs_of(input_record(letter).value or b"", after)
    return again


SHAPES = RoutePolicy(label_sets=("shapes",), tenant="acme")
BOTH = RoutePolicy(label_sets=("shapes", "colours"), tenant="other")
PLAIN = b'{"bucket": "photos", "key": "cat.jpg", "metadata": {"n": 1.50, "t": "\\u00fc"}}'


def test_a_letter_is_classified_by_what_its_route_decides_now() -> None:
    again = after_replay(PLAIN, SHAPES, BOTH)
    assert (again.label_sets, again.tenant) == (("shapes", "colours"), "other")
    assert again.asked == Asked()
    (first,) = refs_of(PLAIN, BOTH)
    assert again.metadata == first.metadata


def test_a_letter_asks_again_for_what_its_sender_asked_for() -> None:
    value = b'{"uri": "s3://photos/cat.jpg", "label_set": "colours", "tenant": "mine"}'
    route = BOTH.model_copy(
        update={"allowed_label_sets": ("colours",), "allowed_tenants": ("mine",)}
    )
    again = after_replay(value, route, route.model_copy(update={"label_sets": ("shapes", "x")}))
    assert (again.label_sets, again.tenant) == (("colours",), "mine")


@pytest.mark.parametrize("told", [True, False])
def test_a_letter_that_was_replayed_before_asks_for_no_more_than_at_first(told: bool) -> None:
    """Also where the first letter did not say what was asked for: the operator said it."""
    once = after_replay(PLAIN, SHAPES, SHAPES, told=told, as_routed=True)
    letter = letter_of(replace(OF_REFERENCE, ref=once))
    (again,) = refs_of(input_record(letter).value or b"", BOTH)
    assert (again.label_sets, again.tenant) == (("shapes", "colours"), "other")


def test_a_letter_of_an_older_release_asks_for_what_its_route_decided_unless_told_otherwise() -> (
    None
):
    with pytest.raises(Reject) as refused:
        after_replay(PLAIN, SHAPES, BOTH, told=False)
    assert refused.value.code == "reference.not_allowed"
    again = after_replay(PLAIN, SHAPES, BOTH, told=False, as_routed=True)
    assert (again.label_sets, again.tenant) == (("shapes", "colours"), "other")


def test_to_replay_as_routed_forgets_nothing_that_a_letter_says_was_asked_for() -> None:
    value = b'{"bucket": "photos", "key": "cat.jpg", "label_sets": ["colours"]}'
    route = BOTH.model_copy(update={"allowed_label_sets": ("colours",)})
    assert after_replay(value, route, route, as_routed=True).label_sets == ("colours",)


def test_a_letter_that_is_published_by_hand_asks_for_what_its_route_decided() -> None:
    (ref,) = refs_of(PLAIN, SHAPES)
    (published,) = builder.records(ORIGIN, replace(OF_REFERENCE, ref=ref))
    allowing = BOTH.model_copy(
        update={"allowed_label_sets": ("shapes",), "allowed_tenants": ("acme",)}
    )
    (again,) = refs_of(published.value, allowing)
    assert (again.label_sets, again.tenant) == (("shapes",), "acme")


@pytest.mark.parametrize("value", [b"", b"[]", b'"x"', b'{"asked": 1}', b"{", b"\xff"])
def test_a_value_that_is_no_reference_of_ours_is_replayed_as_it_is(value: bytes) -> None:
    assert input_record(replace(LETTER, value=value)).value == value


def test_a_record_comes_again_byte_for_byte() -> None:
    sent = input_record(letter_of(OF_RECORD, RAW))
    assert (sent.key, sent.value) == (RAW.key, RAW.value)
    assert sent.headers[:3] == RAW.headers


def test_a_null_value_comes_again_as_null() -> None:
    assert input_record(letter_of(OF_RECORD, replace(RAW, value=None))).value is None


def test_events_of_a_replayed_reference_say_so() -> None:
    letter = letter_of(OF_REFERENCE)
    again = parsed(input_record(letter))
    assert isinstance(again.content, ImageRef)
    dead = replace(OF_REFERENCE, ref=again.content)
    (published,) = builder.records(again.origin, dead)
    headers = dict(published.headers)
    assert headers["replay.of"] == letter.id.encode()
    assert headers["replay.count"] == b"1"
    assert headers["ce_id"] != letter.id.encode()


@pytest.mark.parametrize(("dead", "raw"), [(OF_REFERENCE, None), (OF_RECORD, RAW)])
def test_replays_are_counted_until_they_are_too_many(dead: DeadLetter, raw: Record | None) -> None:
    letter = letter_of(dead, raw)
    for count in (1, 2, 3):
        assert why_not(letter) is None
        sent = input_record(letter)
        assert dict(sent.headers)["replay.count"] == b"%d" % count
        assert [name for name, _ in sent.headers].count("replay.of") == 1
        record = Record(
            Position(Partition(TOPIC, 3), 2000 + count), 9, sent.key, sent.value, sent.headers
        )
        (again,) = parse(record, ReferencesPolicy(), Router([], ["shapes"]))
        match again.content:
            case ImageRef() as ref:
                died = replace(OF_REFERENCE, ref=ref)
            case content:
                assert isinstance(content, DeadLetter)
                died = content
        assert died.code == dead.code
        letter = letter_of(died, again.record, again.origin)
    assert why_not(letter) is Left.TOO_OFTEN


@pytest.mark.parametrize(
    "headers",
    [
        (("replay.of", b"nonsense"), ("replay.count", b"1")),
        (("replay.of", b"0b1f6a52-6c1d-5f4e-9d0f-5f6f2d8f7a11"), ("replay.count", b"-1")),
        (("replay.of", b"0b1f6a52-6c1d-5f4e-9d0f-5f6f2d8f7a11"), ("replay.count", b"9" * 30)),
        (("replay.of", b"0b1f6a52-6c1d-5f4e-9d0f-5f6f2d8f7a11"),),
    ],
)
def test_what_only_looks_like_a_replay_is_none(headers: Headers) -> None:
    value = b'{"bucket": "photos", "key": "cat.jpg"}'
    again = parsed(InputRecord(TOPIC, 0, None, value, headers))
    assert isinstance(again.content, ImageRef)
    assert again.origin.replay is None


def test_a_letter_without_its_payload_cannot_be_replayed() -> None:
    (shrunk,) = builder.shrink(ORIGIN, OF_RECORD, RAW)
    letter = Letter.of(on_topic(shrunk))
    assert letter is not None
    assert why_not(letter) is Left.OMITTED


def test_letters_of_others_are_left() -> None:
    assert why_not(letter_of(OF_REFERENCE), group="other") is Left.ELSEWHERE
    assert why_not(letter_of(OF_REFERENCE), topic="other") is Left.ELSEWHERE
    assert why_not(letter_of(OF_REFERENCE), partitions=3) is Left.ELSEWHERE, "there is no such one"


def test_other_events_on_the_topic_are_no_letters() -> None:
    (published,) = builder.records(ORIGIN, OF_REFERENCE)
    for headers in (
        (),
        (("ce_type", b"clipstream.dead-letter.v2"),),
        tuple(pair for pair in published.headers if pair[0] != "dlq.partition"),
        tuple((n, b"x" if n == "dlq.partition" else v) for n, v in published.headers),
    ):
        assert Letter.of(on_topic(replace(published, headers=headers))) is None


def test_a_marker_names_its_letter_and_has_the_headers_that_are_documented() -> None:
    letter = letter_of(OF_REFERENCE)
    headers = marker_headers(letter)
    marker = Record(Position(Partition("dead-letters", 7), 100), 0, letter.key, b"", headers)
    assert is_marker(marker) == letter.id
    assert Letter.of(marker) is None
    documented = {header.name for header in HEADERS[EventType.REPLAY]}
    assert {name for name, _ in headers} == documented
    assert is_marker(on_topic(builder.records(ORIGIN, OF_REFERENCE)[0])) is None


LETTER = letter_of(OF_REFERENCE)


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), True),
        (Selection(codes=("fetch.not_found",)), True),
        (Selection(codes=("decode.*", "fetch.*")), True),
        (Selection(codes=("fetch",)), False),
        (Selection(codes=("decode.*",)), False),
        (Selection(since_ms=WRITTEN_MS), True),
        (Selection(since_ms=WRITTEN_MS + 1), False),
        (Selection(until_ms=WRITTEN_MS + 1), True),
        (Selection(until_ms=WRITTEN_MS), False),
        (Selection(key="a key"), True),
        (Selection(key="upload-*"), True),
        (Selection(key="a"), False),
        (Selection(codes=("fetch.*",), key="other"), False),
    ],
)
def test_letters_are_chosen_by_code_time_and_key(selection: Selection, wanted: bool) -> None:
    assert selection.wants(LETTER) is wanted


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    st.lists(st.tuples(names, st.binary(max_size=8)), max_size=5),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
)
def test_any_unreadable_record_comes_again_as_it_was(
    headers: list[tuple[str, bytes]], key: bytes | None, value: bytes | None
) -> None:
    raw = Record(ORIGIN.position, 5, key, value, tuple(headers))
    sent = input_record(letter_of(OF_RECORD, raw))
    ours = ("replay.of", "replay.count")
    assert (sent.key, sent.value) == (key, value)
    assert list(sent.headers[:-2]) == [pair for pair in headers if pair[0] not in ours]


def test_the_value_of_a_replayed_reference_is_the_letters() -> None:
    assert json.loads(input_record(LETTER).value or b"")["id"] == "upload-1"


def dead_at(number: int, partition: int, at_ms: int) -> Record:
    """A letter of its own at this place of the dead-letter topic."""
    origin = replace(ORIGIN, position=Position(Partition(TOPIC, 3), number))
    (published,) = builder.records(origin, OF_REFERENCE)
    position = Position(Partition("dead-letters", partition), number)
    return Record(position, at_ms, published.key, published.value, published.headers)


def found(records: list[Record], search: Search) -> Found:
    result = Found()
    for record in records:
        result.take(record, search, lambda letter: None)
    result.keep(search.limit)
    return result


PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=30)
"""Partition and time of each letter, in the order of their offsets."""


@given(PLACES, st.integers(1, 10))
def test_offsets_alone_say_which_letters_a_limited_search_has_found(
    places: list[tuple[int, int]], limit: int
) -> None:
    records = [dead_at(number, *place) for number, place in enumerate(places)]
    first = found(records, Search(Selection(), limit))
    assert len(first.due) == min(limit, len(records))
    again = found(records, Search(Selection(), upto=first.upto))
    assert again.due == first.due


def test_a_limit_keeps_the_oldest_letters_of_all_partitions() -> None:
    records = [dead_at(0, 0, 10), dead_at(1, 0, 40), dead_at(2, 1, 20), dead_at(3, 1, 30)]
    kept = found(records, Search(Selection(), 3))
    assert sorted(due.timestamp_ms for due in kept.due.values()) == [10, 20, 30]
    assert kept.upto == {0: 1, 1: 4}


def test_letters_beyond_the_offsets_or_out_of_sight_are_no_part_of_a_search() -> None:
    records = [dead_at(0, 0, 10), dead_at(1, 0, 20), dead_at(2, 1, 30)]
    assert len(found(records, Search(Selection(), upto={0: 1})).due) == 1
    hidden = Search(Selection(), allowed=lambda record: record.position.offset == 1)
    result = found(records, hidden)
    assert [due.offset for due in result.due.values()] == [1]
    assert not result.left


def test_a_letter_that_came_twice_is_found_once_at_its_first_place() -> None:
    first = dead_at(0, 0, 10)
    second = replace(first, position=Position(Partition("dead-letters", 0), 5))
    assert found([first, second], Search(Selection())).upto == {0: 1}
