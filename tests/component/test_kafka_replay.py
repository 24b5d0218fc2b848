"""`clipstream replay` on a real broker: each letter once, whatever interrupts it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.adapters.kafka import replay as kafka_replay
from pipeline.adapters.kafka.clients import Producer, connect, discard
from pipeline.adapters.kafka.policy import common_options
from pipeline.adapters.kafka.replay import DeadLetterTopic, ReplayProducer
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt, Retry
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.ports import Commit
from pipeline.records import (
    Asked,
    DeadLetter,
    Entry,
    ImageRef,
    Origin,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
    Record,
)
from pipeline.records.progress import Progress
from pipeline.references import ReferencesPolicy, parse
from pipeline.replay import Letter, Selection
from pipeline.routes import RoutePolicy, Router
from tests.rigs.services.kafka_deployment import Deployment, Polling
from workers.commands.replay import run_replay
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

LETTERS = 5
OPEN_MS = 4000


class Desk:
    """A deployment with dead letters on its topic, and a person who replays them."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.settings = Settings(
            kafka=deployment.kafka,
            delivery=deployment.delivery,
            s3=S3Policy(allowed_buckets=("photos",)),
        )
        facts = deployment.facts
        self.builder = EventBuilder(
            EventContext(facts.cluster_id, deployment.kafka.group, facts.topic_ids, "0"),
            EventsPolicy(),
        )
        self.polling: Polling = deployment.ready()

    def die(self, *dead: Entry) -> None:
        """What a worker publishes of dead letters."""
        records: list[OutputRecord] = []
        for entry in dead:
            assert isinstance(entry.content, DeadLetter)
            records += self.builder.records(entry.origin, entry.content, entry.record)
        self.polling.once()
        progress = {Partition(self.deployment.input, 0): Progress(len(dead))}
        self.polling.stream.commit(Commit(progress, tuple(records)))

    def replay(
        self,
        selection: Selection | None = None,
        *,
        publish: bool = True,
        limit: int | None = None,
        as_routed: bool = False,
    ) -> tuple[int, str]:
        """How many letters were replayed, and what was printed."""
        printed = io.StringIO()
        count = run_replay(
            self.settings,
            Console(file=printed, width=200),
            selection=selection or Selection(),
            publish=publish,
            limit=limit,
            max_replays=3,
            as_routed=as_routed,
        )
        return count, printed.getvalue()

    def arrived(self, count: int) -> list[Record]:
        """The input records, as a worker's consumer sees them, once there are so many."""
        self.polling.until(lambda: len(self.polling.records) >= count)
        return self.polling.records

    def letter(
        self, offset: int, code: str = "fetch.not_found", asked: Asked | None = None
    ) -> Entry:
        position = Position(self.deployment.partition(offset % 2), offset)
        ref = ImageRef("photos", f"{offset}.jpg", ("shapes",), id=f"id-{offset}", asked=asked)
        origin = Origin(position, 0, 0, b"k%d" % offset)
        return Entry(origin, DeadLetter(code, "no", 1, ref=ref))


@pytest.fixture
def desk(kafka_bootstrap: str) -> Iterator[Desk]:
    with Deployment(kafka_bootstrap) as deployment:
        yield Desk(deployment)


def test_a_dry_run_shows_the_letters_and_publishes_nothing(desk: Desk) -> None:
    desk.die(*(desk.letter(n) for n in range(3)), desk.letter(3, "decode.corrupt"))
    count, said = desk.replay(Selection(codes=("fetch.*",)), publish=False)
    assert count == 0
    assert "fetch.not_found  3" in said
    assert "decode.corrupt" not in said
    assert "3 dead letters would be replayed; nothing was published" in said
    assert desk.replay()[0] == 4, "the dry run has marked nothing"


def test_each_letter_comes_again_once_in_its_partition(desk: Desk) -> None:
    desk.die(*(desk.letter(n) for n in range(LETTERS)))
    assert desk.replay()[0] == LETTERS
    again, said = desk.replay()
    assert again == 0
    assert f"{LETTERS} left: replayed before" in said
    arrived = desk.arrived(LETTERS)
    assert len(arrived) == LETTERS
    assert {json.loads(record.value or b"")["id"] for record in arrived} == {
        f"id-{n}" for n in range(LETTERS)
    }
    for record in arrived:
        number = int((record.key or b"").removeprefix(b"k"))
        assert record.position.partition.number == number % 2


def test_the_rest_follows_where_a_limit_ended_the_first(desk: Desk) -> None:
    desk.die(*(desk.letter(n) for n in range(LETTERS)))
    assert desk.replay(limit=2)[0] == 2
    assert desk.replay()[0] == LETTERS - 2
    assert len({record.key for record in desk.arrived(LETTERS)}) == LETTERS


def test_an_interrupted_replay_has_published_nothing_and_is_made_good(desk: Desk) -> None:
    desk.die(*(desk.letter(n) for n in range(LETTERS)))
    with ReplayProducer(desk.settings.kafka, desk.settings.delivery) as producer:
        producer._producer.begin_transaction()
        for letter in letters_of(desk):
            for future in producer._send(letter):
                future.get(10)
        # Ends here, as by Ctrl-C: sent, acknowledged and not committed.
    assert desk.replay()[0] == LETTERS
    assert len(desk.arrived(LETTERS)) == LETTERS
    desk.polling.once()
    assert len(desk.polling.records) == LETTERS


def letters_of(desk: Desk) -> list[Letter]:
    with DeadLetterTopic(desk.settings.kafka) as topic:
        records = [record for batch in topic.records() for record in batch]
    return [letter for letter in map(Letter.of, records) if letter is not None]


def test_of_two_replays_at_the_same_time_the_earlier_ends(desk: Desk) -> None:
    desk.die(desk.letter(0))
    kafka, delivery = desk.settings.kafka, desk.settings.delivery
    with ReplayProducer(kafka, delivery) as first:
        with ReplayProducer(kafka, delivery) as second:
            second.publish(letters_of(desk))
        with pytest.raises(Halt) as caught:
            first.publish(letters_of(desk))
    assert caught.value.code == "replay.fenced"
    assert len(desk.arrived(1)) == 1


def test_a_replayed_letter_that_dies_again_is_a_letter_of_its_own(desk: Desk) -> None:
    # Its position is none that a replayed record gets.
    desk.die(desk.letter(50))
    assert desk.replay()[0] == 1
    (record,) = desk.arrived(1)
    assert dict(record.headers)["replay.count"] == b"1"
    desk.die(died_again(record))
    assert desk.replay()[0] == 1, "the first letter is marked, the second is not"
    _, second = desk.arrived(2)
    first_of, second_of = (dict(each.headers)["replay.of"] for each in (record, second))
    assert dict(second.headers)["replay.count"] == b"2"
    assert first_of != second_of
    desk.die(died_again(second))
    assert desk.replay()[0] == 1
    *_, third = desk.arrived(3)
    desk.die(died_again(third))
    count, said = desk.replay()
    assert count == 0, "there is an end to it"
    assert "1 left: replayed as often as allowed" in said


def died_again(record: Record) -> Entry:
    """What a worker makes of a replayed record whose object is still not there."""
    (entry,) = parse(record, policy=ReferencesPolicy(), router=Router((), ("shapes",)))
    assert isinstance(entry.content, ImageRef)
    return replace(entry, content=DeadLetter("fetch.not_found", "no", 1, ref=entry.content))


@pytest.mark.parametrize("as_routed", [False, True])
def test_a_letter_whose_route_has_gained_a_label_set_is_classified_by_both(
    desk: Desk, as_routed: bool
) -> None:
    """Also a letter of an older release, which does not say what was asked for, if so wanted."""
    desk.die(desk.letter(0, asked=None if as_routed else Asked()))
    assert desk.replay(as_routed=as_routed)[0] == 1
    (record,) = desk.arrived(1)
    route = RoutePolicy(label_sets=("shapes", "colours"))
    (entry,) = parse(record, ReferencesPolicy(), Router([route], ("shapes", "colours")))
    assert isinstance(entry.content, ImageRef)
    assert entry.content.label_sets == ("shapes", "colours")


def test_a_partition_without_a_leader_is_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DeadLetterTopic(desk.settings.kafka) as topic:
        cluster = topic._ends._manager.cluster
        leader_of = cluster.leader_for_partition
        monkeypatch.setattr(
            cluster, "leader_for_partition", lambda tp: leader_of(tp) if tp.partition else -1
        )
        with pytest.raises(Retry, match="LeaderNotAvailable"):
            list(topic.records())


def test_a_topic_that_does_not_exist_is_named(desk: Desk) -> None:
    outputs = desk.settings.kafka.output_topics.model_copy(update={"dead_letters": "nowhere"})
    kafka = desk.settings.kafka.model_copy(update={"output_topics": outputs})
    with pytest.raises(Halt, match="topic nowhere does not exist"):
        DeadLetterTopic(kafka)


def test_a_broker_that_falls_silent_ends_the_pass(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.die(desk.letter(0))
    monkeypatch.setattr(kafka_replay, "POLL_S", 0.01)
    monkeypatch.setattr(kafka_replay, "SILENCE_S", 0.05)
    with DeadLetterTopic(desk.settings.kafka) as topic:
        monkeypatch.setattr(topic._consumer, "poll", lambda timeout_ms: {})
        with pytest.raises(Retry, match="cannot be read to its end"):
            list(topic.records())


def test_letters_are_written_to_their_own_topic(desk: Desk) -> None:
    desk.die(desk.letter(0))
    desk.replay()
    visible = desk.deployment.visible(OutputTopic.DEAD_LETTERS)
    assert len(visible) == 2, "the letter and its marker"
    assert {partition for partition, *_ in visible} == {visible[0][0]}


def test_a_transaction_that_a_worker_left_open_hides_no_marker(desk: Desk) -> None:
    """What is committed ends before it, and the marker of an earlier replay stands behind it."""
    desk.die(*(desk.letter(n) for n in range(LETTERS)))
    topic = desk.settings.kafka.output_topics.dead_letters
    options = common_options(desk.settings.kafka, "dead-worker") | {
        "transactional_id": f"{desk.settings.kafka.group}-dead",
        "transaction_timeout_ms": OPEN_MS,
    }
    dead = connect(Producer, options)
    try:
        dead.init_transactions()
        dead.begin_transaction()
        for partition in range(desk.deployment.partitions):
            dead.send(topic, b"", partition=partition).get(10)
        assert desk.replay()[0] == LETTERS
        again, said = desk.replay()
    finally:
        discard(dead)
    assert again == 0
    assert f"{LETTERS} left: replayed before" in said


def test_a_letter_that_its_topic_would_refuse_is_left(desk: Desk) -> None:
    record = Record(Position(desk.deployment.partition(0), 7), 0, b"k", bytes(1_048_000), ())
    dead = DeadLetter("reference.too_large", "no", 1)
    desk.die(desk.letter(0), Entry(Origin(record.position, 0, 0), dead, record))
    count, said = desk.replay()
    assert count == 1
    assert "1 left: larger than kafka.max_input_bytes" in said
