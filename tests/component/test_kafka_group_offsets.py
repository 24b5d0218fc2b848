"""First offsets of a group, and offsets that are missing or mean nothing, on a real Kafka."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.future import Future

from pipeline.adapters.kafka.admin import KafkaAdmin, Start
from pipeline.adapters.kafka.offsets import OffsetNote
from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt, Retry
from pipeline.ports import Assigned, Commit
from pipeline.records import OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import Deployment, Polling, retrying
from tests.rigs.waiting import eventually
from workers.commands.stream import _initialise_group
from workers.settings.loading import Settings

pytestmark = pytest.mark.component


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    """Two partitions; the first has three records, the group no offsets."""
    with Deployment(kafka_bootstrap, start=None) as opened:
        opened.produce([b"0", b"1", b"2"])
        yield opened


def offsets(deployment: Deployment) -> list[int | None]:
    return [deployment.committed(number) for number in range(deployment.partitions)]


def commit_by_hand(deployment: Deployment, number: int, offset: int, metadata: str = "") -> None:
    tp = TopicPartition(deployment.input, number)
    altered = {tp: OffsetAndMetadata(offset, metadata, -1)}
    answers = deployment.admin.client.alter_group_offsets(deployment.kafka.group, altered)
    assert [error.__name__ for error in answers.values()] == ["NoError"]


def halt_of(polling: Polling) -> str:
    """The code with which polling stops."""
    with pytest.raises(Halt) as halt:
        polling.until(lambda: False)
    return halt.value.code


def test_a_group_starts_at_the_earliest_record(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    assert offsets(deployment) == [0, 0]


def test_a_group_starts_at_the_earliest_record_that_is_left(deployment: Deployment) -> None:
    deployment.admin.client.delete_records({TopicPartition(deployment.input, 0): 2})
    deployment.initialise("earliest")
    assert offsets(deployment) == [2, 0]


def test_a_group_starts_behind_the_latest_record(deployment: Deployment) -> None:
    deployment.initialise("latest")
    assert offsets(deployment) == [3, 0]


def test_a_group_starts_at_a_time_and_behind_partitions_that_ended_before(
    deployment: Deployment,
) -> None:
    start = datetime.now(UTC)
    # A record's time is in whole milliseconds.
    eventually(lambda: datetime.now(UTC).timestamp() * 1000 > start.timestamp() * 1000 + 2)
    deployment.produce([b"later"], partition=1)
    deployment.produce([b"later still"], partition=1)
    deployment.initialise(start)
    assert offsets(deployment) == [3, 0]


def test_the_groups_lag_is_of_all_partitions_whoever_owns_them(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    assert deployment.admin.lag() == 3
    commit_by_hand(deployment, 0, 2)
    assert deployment.admin.lag() == 1
    deployment.produce([b"3", b"4"], partition=1)
    assert deployment.admin.lag() == 3
    commit_by_hand(deployment, 0, 3)
    commit_by_hand(deployment, 1, 2)
    assert deployment.admin.lag() == 0


def test_the_lag_of_topics_that_do_not_exist_is_not_known(deployment: Deployment) -> None:
    topics = (deployment.input, "no-such-topic")
    kafka = deployment.kafka.model_copy(update={"input_topics": topics})
    with KafkaAdmin(kafka) as admin, pytest.raises(Retry):
        admin.lag()


def test_drivers_that_start_together_agree(deployment: Deployment) -> None:
    failures: list[BaseException] = []

    def drive() -> None:
        try:
            with KafkaAdmin(deployment.kafka) as admin:
                retrying(lambda: admin.initialise_group(admin.facts(), "latest"))
        except BaseException as failure:
            failures.append(failure)

    drivers = [threading.Thread(target=drive) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert failures == []
    assert offsets(deployment) == [3, 0]


def test_offsets_of_a_group_that_has_some_are_left_alone(deployment: Deployment) -> None:
    deployment.initialise("latest")
    deployment.produce([b"3"])
    deployment.initialise("earliest")
    assert offsets(deployment) == [3, 0]


def test_a_driver_that_comes_late_leaves_a_working_group_alone(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    polling = deployment.ready()
    polling.until(lambda: len(polling.records) == 3)
    polling.stream.commit(Commit({deployment.partition(0): Progress(2)}, ()))
    deployment.initialise("latest")
    assert offsets(deployment) == [2, 0]


def test_a_group_with_members_but_no_offsets_is_not_given_any(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    deployment.ready()
    with Deployment(str(deployment.kafka.bootstrap_servers[0]), start=None) as other:
        # The same group, about to read another topic as well.
        kafka = deployment.kafka.model_copy(update={"input_topics": (other.input,)})
        with KafkaAdmin(kafka) as admin, pytest.raises(Halt) as halt:
            admin.initialise_group(admin.facts(), "earliest")
    assert halt.value.code == "kafka.group_not_initialised"


def test_a_missing_topic_is_named(deployment: Deployment) -> None:
    kafka = deployment.kafka.model_copy(update={"input_topics": ("mistyped",)})
    with KafkaAdmin(kafka) as admin, pytest.raises(Halt, match="mistyped") as halt:
        admin.facts()
    assert halt.value.code == "kafka.topic_missing"


@pytest.mark.parametrize("role", OutputTopic)
def test_a_missing_output_topic_is_named(deployment: Deployment, role: OutputTopic) -> None:
    missing = deployment.topic(role)
    deployment.admin.client.delete_topics([missing])
    eventually(lambda: not deployment.admin.topics([missing]))
    with pytest.raises(Halt, match=missing) as halt:
        deployment.admin.facts()
    assert halt.value.code == "kafka.topic_missing"


def test_a_partition_that_was_added_later_starts_at_its_first_record(
    deployment: Deployment,
) -> None:
    deployment.initialise("latest")
    deployment.admin.client.create_partitions({deployment.input: 3})
    eventually(lambda: deployment.partitions == 3)
    deployment.produce([b"early"], partition=2)
    polling = deployment.ready()
    polling.until(lambda: bool(polling.records))
    assert polling.values == [b"early"]
    polling.stream.commit(polling.finished())
    assert offsets(deployment) == [3, 0, 1]


def test_an_added_partition_whose_first_records_are_gone_stops_the_worker(
    deployment: Deployment,
) -> None:
    deployment.initialise("latest")
    deployment.admin.client.create_partitions({deployment.input: 3})
    eventually(lambda: deployment.partitions == 3)
    deployment.produce([b"gone"], partition=2)
    deployment.admin.client.delete_records({TopicPartition(deployment.input, 2): 1})
    assert halt_of(Polling(deployment.stream())) == "kafka.offset_missing"


def test_any_other_missing_offset_stops_the_worker(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    lost = TopicPartition(deployment.input, 1)
    deployment.admin.client.delete_group_offsets(deployment.kafka.group, [lost])
    assert offsets(deployment) == [0, None]
    assert halt_of(Polling(deployment.stream())) == "kafka.offset_missing"


def started_by_its_driver(deployment: Deployment, start: Start) -> None:
    settings = Settings(
        s3=S3Policy(allowed_buckets=("images",)),
        kafka=deployment.kafka,
        delivery=DeliveryPolicy(start=start),
    )
    _initialise_group(settings, threading.Event(), random.Random(0))


@pytest.mark.parametrize("lost", ["offsets expired", "topic created anew"])
def test_a_group_without_any_offset_is_started_nowhere_if_so_wanted(
    deployment: Deployment, lost: str
) -> None:
    """What else would look like a new group, which starts by itself."""
    started_by_its_driver(deployment, "earliest")
    started_by_its_driver(deployment, "none")
    tps = [TopicPartition(deployment.input, number) for number in range(deployment.partitions)]
    if lost == "offsets expired":
        deployment.admin.client.delete_group_offsets(deployment.kafka.group, tps)
    else:
        deployment.admin.client.delete_topics([deployment.input])
        eventually(lambda: bool(deployment.admin.create_topics({deployment.input: {}}, 2, 1)))
        eventually(lambda: deployment.partitions == 2)
    with pytest.raises(Halt, match=r"no offsets on .* delivery\.start is none") as halt:
        started_by_its_driver(deployment, "none")
    assert halt.value.code == "kafka.offset_missing"
    assert offsets(deployment) == [None, None]
    started_by_its_driver(deployment, "earliest")
    assert offsets(deployment) == [0, 0]


def test_a_group_that_was_never_initialised_stops_the_worker(deployment: Deployment) -> None:
    assert halt_of(Polling(deployment.stream())) == "kafka.offset_missing"


@pytest.mark.parametrize("metadata", ["", "clipstream/1 topic=x initial=many", "somebody else's"])
def test_offsets_that_were_set_by_hand_are_taken_as_they_are(
    deployment: Deployment, metadata: str
) -> None:
    deployment.initialise("earliest")
    commit_by_hand(deployment, 0, 2, metadata)
    polling = deployment.ready()
    polling.until(lambda: bool(polling.records))
    assert polling.values == [b"2"]
    polling.stream.commit(polling.finished())
    assert offsets(deployment) == [3, 0]


def late_answer(stream: KafkaStream, deployment: Deployment, offset: int) -> None:
    """What the client keeps of a question that was answered after it had been given up."""
    everything = [TopicPartition(deployment.input, number) for number in range(2)]
    answer = {tp: OffsetAndMetadata(offset, "", -1) for tp in everything}
    kept = stream._consumer._coordinator._offset_fetch_futures
    kept[frozenset(everything)] = Future().success(answer)


def test_a_late_answer_of_a_former_assignment_is_not_where_the_next_one_starts(
    deployment: Deployment,
) -> None:
    """Others may have committed meanwhile: what they did would be done again."""
    deployment.initialise("latest")
    stream = deployment.stream()
    late_answer(stream, deployment, 1)
    polling = Polling(stream)
    polling.until(lambda: len(polling.owned) == 2)
    assert polling.starts == {deployment.partition(0): 3, deployment.partition(1): 0}


def test_a_late_answer_does_not_say_what_became_of_a_later_commit(deployment: Deployment) -> None:
    """Taken for not committed, its outcomes would be published a second time."""
    deployment.initialise("latest")
    polling = deployment.ready()
    late_answer(polling.stream, deployment, 1)
    assert polling.recover() == {
        deployment.partition(0): Progress(3),
        deployment.partition(1): Progress(0),
    }


def test_offsets_of_a_topic_that_was_created_anew_stop_the_worker(deployment: Deployment) -> None:
    """As left by a commit that came after the deletion."""
    deployment.initialise("earliest")
    note = OffsetNote("11111111-2222-3333-4444-555555555555", 2)
    commit_by_hand(deployment, 0, 2, str(note))
    assert halt_of(Polling(deployment.stream())) == "kafka.topic_recreated"


def test_a_release_without_orders_halts_rather_than_publish_outcomes_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a note that says more than an offset for that of another topic."""
    deployment.initialise("earliest")
    polling = deployment.ready()
    polling.until(lambda: len(polling.records) == 3)
    ahead = Progress(0, (range(1, 3),))
    note = OffsetNote(deployment.facts.topic_ids[deployment.input], 2, ahead.runs)
    polling.stream.commit(Commit({deployment.partition(0): ahead}, ()))
    polling.stream.close(1.0)

    def parse(metadata: str) -> OffsetNote | None:
        found = re.fullmatch(r"clipstream/1 topic=(\S+) initial=(\d{1,9})(?: \w+=\S+)*", metadata)
        return OffsetNote(found[1], int(found[2])) if found else None

    with monkeypatch.context() as older:
        older.setattr(OffsetNote, "parse", parse)
        assert halt_of(Polling(deployment.stream())) == "kafka.topic_recreated"
    again = deployment.ready()
    assert Assigned(deployment.partition(0), ahead) in again.changes
    again.stream.close(1.0)
    deployment.admin.remove_members([deployment.member(0).group_instance_id])
    commit_by_hand(deployment, 0, 0, str(note).replace(" ahead=", " further="))
    with pytest.raises(Halt, match="a later release wrote"):
        Polling(deployment.stream()).until(lambda: False)


def test_a_topic_that_is_created_anew_under_a_worker_stops_it(deployment: Deployment) -> None:
    """The consumer by itself would go on at its old offset, and pass the new topic's first
    records over. It hears of the topic's id with its metadata, at the latest when they are old."""
    deployment.initialise("earliest")
    polling = deployment.ready()
    polling.until(lambda: len(polling.records) == 3)
    deployment.admin.client.delete_topics([deployment.input])
    eventually(lambda: bool(deployment.admin.create_topics({deployment.input: {}}, 2, 1)))
    deployment.produce([b"new"] * 6)
    polling.stream._consumer._cluster.request_update()
    assert halt_of(polling) == "kafka.topic_recreated"


def test_a_topic_that_is_deleted_under_a_worker_is_revoked(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    polling = deployment.ready()
    deployment.admin.client.delete_topics([deployment.input])
    polling.until(lambda: not polling.owned)
    assert polling.stream.positions() == {}


def test_records_deleted_before_they_were_read_stop_the_worker(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    deployment.admin.client.delete_records({TopicPartition(deployment.input, 0): 2})
    polling = Polling(deployment.stream())
    assert halt_of(polling) == "kafka.offset_out_of_range"
    assert polling.values == []
    assert offsets(deployment) == [0, 0]


def test_notes_say_what_topic_the_offsets_are_of(deployment: Deployment) -> None:
    deployment.initialise("earliest")
    polling = deployment.ready()
    polling.until(lambda: len(polling.records) == 3)
    polling.stream.commit(polling.finished())
    tp = TopicPartition(deployment.input, 0)
    group = deployment.kafka.group

    def listed() -> Any:
        return deployment.admin.client.list_group_offsets({group: [tp]})[group][tp]

    # The admin client does not wait for the transaction's marker, which follows the commit.
    eventually(lambda: listed().offset == 3)
    note = OffsetNote.parse(listed().metadata)
    assert note == OffsetNote(deployment.facts.topic_ids[deployment.input], 2)
