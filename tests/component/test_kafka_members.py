"""Members of one group on a real Kafka: who owns what, and for how long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.coordinator.base import Generation
from kafka.errors import KafkaTimeoutError

from pipeline.adapters.kafka.offsets import OffsetNote
from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.errors import CommitDoubtful, Halt, Retry, Unconfirmed
from pipeline.ports import Assigned, Commit, Revoked
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import (
    DEADLINE_S,
    Deployment,
    Polling,
    commits,
    outcome,
)
from tests.rigs.waiting import eventually

pytestmark = pytest.mark.component

PARTITIONS = 4


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    """A member that is gone is missed after the default session timeout, which no test waits
    for."""
    with Deployment(kafka_bootstrap, PARTITIONS) as opened:
        yield opened


def add_partitions(deployment: Deployment, polling: Polling, total: int) -> None:
    """Add partitions and have the member hear of it, which else takes half a minute."""
    deployment.admin.client.create_partitions({deployment.input: total})
    cluster = polling.stream._consumer._cluster

    def heard() -> bool:
        cluster.request_update()
        return len(cluster.partitions_for_topic(deployment.input)) == total

    eventually(heard)


def joined(deployment: Deployment) -> tuple[Polling, Polling]:
    """Two members that have shared the partitions out."""
    first, second = Polling(deployment.stream(0)), Polling(deployment.stream(1))
    first.until(lambda: len(first.owned) == 4)
    first.until(lambda: len(first.owned) == len(second.owned) == 2, also=[second])
    return first, second


def test_members_share_the_partitions_and_each_commits_its_own(deployment: Deployment) -> None:
    first, second = joined(deployment)
    assert not first.owned & second.owned
    deployment.produce([b"0"], partition=0)
    deployment.produce([b"3"], partition=3)
    first.until(lambda: len(first.records) + len(second.records) == 2, also=[second])
    for member in (first, second):
        member.stream.recover()
        member.stream.commit(member.finished())
    assert {*deployment.values()} == {b"0", b"3"}
    assert [deployment.committed(number) for number in range(4)] == [1, 0, 0, 1]


def test_a_member_without_a_partition_stays_and_takes_over(deployment: Deployment) -> None:
    members = [Polling(deployment.stream(slot)) for slot in range(PARTITIONS + 1)]
    first, *others = members
    first.until(
        lambda: (
            sum(map(len, (each.owned for each in members))) == PARTITIONS
            and all(each.stream.confirmed for each in members)
        ),
        also=others,
    )
    settled(members)
    (idle,) = (each for each in members if not each.owned)
    assert all(len(each.owned) == 1 for each in members if each is not idle)
    leaver = next(slot for slot, each in enumerate(members) if each.owned)
    (free,) = members[leaver].owned
    members[leaver].stream.close(1.0)
    deployment.admin.remove_members([deployment.member(leaver).group_instance_id])
    deployment.produce([b"late"], partition=free.number)
    stayed = [each for each in members if each not in (members[leaver], idle)]
    idle.until(lambda: idle.values == [b"late"], also=stayed)
    assert idle.owned == {free}


def test_a_partition_of_another_member_cannot_be_committed(deployment: Deployment) -> None:
    """The broker would take it: it looks at the generation alone."""
    first, second = joined(deployment)
    first.stream.recover()
    stranger = min(second.owned)
    with pytest.raises(CommitDoubtful):
        first.stream.commit(Commit({stranger: Progress(5)}, (outcome(b"stolen"),)))
    first.recover()
    assert deployment.committed(stranger.number) == 0
    assert deployment.values() == []


def test_a_member_that_restarts_has_its_partitions_back_at_once(deployment: Deployment) -> None:
    first, second = joined(deployment)
    first.stream.close(1.0)
    second.changes.clear()
    again = Polling(deployment.stream(0))
    again.until(lambda: again.owned == first.owned, also=[second])
    assert second.changes == []


def settled(members: list[Polling]) -> None:
    """Poll until the group has answered two heartbeats of each, and what it said was followed."""
    first, *others = members
    for _ in range(2):
        now = time.monotonic()
        first.until(
            lambda: all(each.stream._consumer.member_since(now) for each in members),  # noqa: B023
            also=others,
        )


def test_members_that_restart_one_after_the_other_have_their_partitions_back(
    kafka_bootstrap: str,
) -> None:
    # Longer than a test waits: what comes back does not come by the end of a session.
    patient = DeliveryPolicy(session_timeout_s=4 * DEADLINE_S)
    with Deployment(kafka_bootstrap, PARTITIONS, delivery=patient) as deployment:
        members = [Polling(deployment.stream(slot)) for slot in range(PARTITIONS)]
        first, *others = members
        first.until(lambda: all(len(member.owned) == 1 for member in members), also=others)
        places = [member.owned for member in members]
        for slot in range(PARTITIONS):
            members[slot].stream.close(1.0)
            others = members[:slot] + members[slot + 1 :]
            for other in others:
                other.changes.clear()
            settled(others)
            again = members[slot] = Polling(deployment.stream(slot))
            again.until(lambda: bool(again.owned), also=others)  # noqa: B023
            settled(members)
            assert again.owned == places[slot]
            assert [other.changes for other in others] == [[]] * len(others)


def test_a_later_release_may_share_the_group_while_it_is_rolled_out(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes more into the notes beside its offsets."""
    deployment.produce([b"0", b"1"], partition=0)
    written = OffsetNote.__str__
    with monkeypatch.context() as later:
        later.setattr(OffsetNote, "__str__", lambda note: f"{written(note)} later=field")
        new = deployment.ready()
        new.until(lambda: len(new.records) == 2)
        new.stream.commit(Commit({deployment.partition(0): Progress(1)}, (outcome(b"of-0"),)))
    old = Polling(deployment.stream(1))
    old.until(lambda: len(old.owned) == len(new.owned) == 2, also=[new])
    new.stream.close(1.0)
    deployment.admin.remove_members([deployment.member(0).group_instance_id])
    old.until(lambda: len(old.owned) == PARTITIONS)
    old.until(lambda: [record.value for record in old.records] == [b"1"])


def test_partitions_of_a_member_that_is_gone_for_good_move_at_once(deployment: Deployment) -> None:
    first, second = joined(deployment)
    second.stream.close(1.0)
    first.once()
    assert len(first.owned) == PARTITIONS / 2
    deployment.admin.remove_members([deployment.member(1).group_instance_id, "nobody"])
    first.until(lambda: len(first.owned) == PARTITIONS)


def test_a_second_process_with_the_name_of_a_member_stops_the_first(
    deployment: Deployment,
) -> None:
    first = deployment.ready()
    second = deployment.ready()
    with pytest.raises(Halt) as halt:
        first.until(lambda: False)
    assert halt.value.code == "kafka.fenced"
    # The group may begin another generation for what the first has asked.
    eventually(lambda: commits(second, Commit({deployment.partition(0): Progress(1)}, ())))
    assert deployment.committed(0) == 1


def test_a_member_takes_part_in_a_group_that_answers_between_its_polls(
    deployment: Deployment,
) -> None:
    """kafka-python forgets a join that is answered while nobody polls, and joins again."""
    polling = Polling(deployment.stream())
    coordinator = polling.stream._consumer._coordinator

    def answered() -> bool:
        return coordinator._join_task is None or coordinator._join_task.is_done

    def owns_all() -> bool:
        polling.changes += polling.stream.poll(1, 0).changes
        eventually(answered)
        return len(polling.owned) == PARTITIONS

    eventually(owns_all)
    assert coordinator._generation.generation_id <= 2


def test_a_leader_that_rejoins_for_new_partitions_completes_its_join(
    deployment: Deployment,
) -> None:
    """kafka-python forgets such a join where the poll that began it ends before the answer: the
    leader then owns nothing, for ever."""
    polling = deployment.ready()
    coordinator = polling.stream._consumer._coordinator
    assert coordinator._is_leader
    add_partitions(deployment, polling, PARTITIONS + 2)
    polling.stream.poll(1, 0)
    eventually(lambda: coordinator._join_task.is_done)
    polling.until(lambda: len(polling.owned) == PARTITIONS + 2)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_new_partitions_are_noticed_in_a_group_whose_leader_has_restarted(
    deployment: Deployment, meanwhile: bool
) -> None:
    """The broker takes a static member back without a rebalance, but not as the leader."""
    deployment.ready().stream.close(1.0)
    if meanwhile:
        deployment.admin.client.create_partitions({deployment.input: PARTITIONS + 2})
        polling = Polling(deployment.stream())
    else:
        polling = deployment.ready()
        add_partitions(deployment, polling, PARTITIONS + 2)
    polling.until(lambda: len(polling.owned) == PARTITIONS + 2)


def test_a_poll_that_fails_loses_no_record(deployment: Deployment) -> None:
    """The client has counted them as polled by then."""
    deployment.produce([b"0", b"1", b"2"])
    polling = Polling(deployment.stream())
    stream = polling.stream
    fetch, check = stream._fetch, stream._offsets.check
    drained: list[Any] = []

    def fetching(max_records: int, timeout_s: float) -> Any:
        polled = fetch(max_records, timeout_s)
        drained.extend(polled.values())
        return polled

    def failing_until_drained(
        starts: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, Progress]:
        if len(drained) < 2:
            raise KafkaTimeoutError("the coordinator does not answer")
        return check(starts)

    stream._fetch = fetching  # type: ignore[method-assign]
    stream._offsets.check = failing_until_drained  # type: ignore[method-assign]

    def read() -> bool:
        with contextlib.suppress(Retry):
            polling.once()
        return len(polling.records) == 3

    eventually(read)
    assert polling.values == [b"0", b"1", b"2"]
    assert polling.starts == dict.fromkeys(map(deployment.partition, range(PARTITIONS)), 0)


def test_an_overdue_heartbeat_does_not_make_poll_spin(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    polling = deployment.ready()
    consumer = polling.stream._consumer
    monkeypatch.setattr(consumer._coordinator.heartbeat, "time_to_next_heartbeat", lambda: 0)
    fetches = []
    fetch = consumer._fetcher.fetch_records

    def counting(*arguments: object, **options: object) -> object:
        fetches.append(arguments)
        return fetch(*arguments, **options)

    monkeypatch.setattr(consumer._fetcher, "fetch_records", counting)
    polling.stream.pause(polling.owned)
    polling.stream.poll(1, 0.5)
    # One each 100 ms, and a few more in the last millisecond.
    assert len(fetches) < 100


def test_no_producer_is_built_before_the_group_has_confirmed_the_member(
    deployment: Deployment,
) -> None:
    """A process that was frozen and replaced meanwhile must not fence its replacement."""
    replaced, replacement = deployment.ready(), deployment.ready()
    with pytest.raises(CommitDoubtful):
        replaced.stream.commit(
            Commit({deployment.partition(0): Progress(1)}, (outcome(b"doubtful"),))
        )
    with pytest.raises(Unconfirmed):
        replaced.stream.recover()
    with pytest.raises(Halt) as told:
        replaced.until(lambda: False)
    assert told.value.code == "kafka.fenced"
    replacement.stream.commit(Commit({deployment.partition(0): Progress(1)}, (outcome(b"done"),)))
    assert deployment.values() == [b"done"]


def test_a_commit_names_the_generation_whose_assignment_was_followed(
    deployment: Deployment,
) -> None:
    """The group has moved on between two polls: what it took away must not be committed."""
    polling = deployment.ready()
    coordinator = polling.stream._consumer._coordinator
    answered = coordinator.group_metadata()
    # As the client does on its I/O thread when a join is answered.
    coordinator._generation = Generation(answered.generation_id + 1, answered.member_id, None)
    assert coordinator.group_metadata() != answered
    assert polling.stream._group == answered
    assert polling.stream._consumer.group_metadata() == answered


def test_a_member_that_was_put_out_claims_nothing(deployment: Deployment) -> None:
    polling = deployment.ready()
    consumer = polling.stream._consumer
    (assignor,) = consumer._coordinator._assignors.values()
    claimed = assignor.metadata([deployment.input]).owned_partitions
    assert sum(len(topic.partitions) for topic in claimed) == deployment.partitions
    consumer._subscription.assign_from_subscribed([])
    assert not assignor.metadata([deployment.input]).owned_partitions


def test_a_member_that_comes_back_under_another_id_is_told_that_it_lost_its_partitions(
    deployment: Deployment,
) -> None:
    polling = deployment.ready()
    deployment.admin.remove_members([deployment.member().group_instance_id])
    coordinator = polling.stream._consumer._coordinator
    # As where it hears of its removal while it joins anew: the join has been prepared for.
    coordinator.rejoining = True
    polling.changes.clear()
    polling.until(lambda: len(polling.changes) >= 2 * deployment.partitions)
    half = deployment.partitions
    assert all(isinstance(change, Revoked) for change in polling.changes[:half])
    assert all(isinstance(change, Assigned) for change in polling.changes[half:])
