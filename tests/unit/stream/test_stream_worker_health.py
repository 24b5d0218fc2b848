"""What a stream worker says of itself: whether it is available, and how long what it waits for has
taken."""

from __future__ import annotations

import threading

import pytest

from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.errors import CommitDoubtful
from pipeline.ports import Commit
from pipeline.records import OutputTopic, Partition
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import (
    WAIT_S,
    committed,
    keys_of,
    new_broker,
    running,
    send,
    visible,
)


@pytest.fixture
def broker() -> MemoryBroker:
    return new_broker()


def test_a_worker_is_unavailable_while_it_cannot_poll(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        eventually(lambda: worker.worker.health().available)
        worker.stream.down = True
        eventually(lambda: not worker.worker.health().available)
        worker.stream.down = False
        eventually(lambda: worker.worker.health().available)


def test_a_worker_whose_stores_serve_nobody_is_unavailable_and_still_takes_in_first_references(
    broker: MemoryBroker,
) -> None:
    with running(broker) as worker:
        eventually(lambda: worker.worker.health().available)
        worker.supply.serving = False
        assert not worker.worker.health().available
        send(broker, "a")
        eventually(lambda: committed(broker) == 1)
        worker.supply.serving = True
        assert worker.worker.health().available


def test_a_worker_says_that_partitions_wait_for_one_of_several_stores(
    broker: MemoryBroker,
) -> None:
    with running(broker) as worker:
        assert not worker.worker.health().held_up
        worker.supply.held_up = frozenset({Partition("refs", 1)})
        assert worker.worker.health().held_up


def test_a_worker_is_unavailable_until_it_has_a_producer(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stream: MemoryStream) -> None:
        raise CommitDoubtful("memory.down", "no broker answers")

    monkeypatch.setattr(MemoryStream, "recover", refuse)
    with running(broker) as worker:
        eventually(lambda: worker.worker.health().partitions == 2)
        assert not worker.worker.health().available
        monkeypatch.undo()
        eventually(lambda: worker.worker.health().available)


def test_a_commit_that_never_returns_shows_in_the_age_of_the_round(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def hang(stream: MemoryStream, wanted: Commit) -> None:
        stuck.set()
        go_on.wait(WAIT_S)

    monkeypatch.setattr(MemoryStream, "commit", hang)
    with running(broker) as worker:
        send(broker, "a")
        assert stuck.wait(WAIT_S)
        eventually(lambda: worker.worker.health().cycle_age_s > 0.5)
        assert worker.worker.health().commit_age_s == 0.0, "it has not failed"
        monkeypatch.undo()
        go_on.set()
        eventually(lambda: worker.worker.health().cycle_age_s < 0.3)


def test_a_batch_that_never_returns_shows_in_the_age_of_the_batch(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        assert worker.worker.health().encode_age_s == 0.0
        worker.encode_age_s = 130.0
        assert worker.worker.health().encode_age_s == 130.0


def test_commits_that_fail_age_only_while_the_broker_answers(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stream: MemoryStream, wanted: Commit) -> None:
        stream._epoch = None
        raise CommitDoubtful("memory.stuck", "no answer to the commit")

    monkeypatch.setattr(MemoryStream, "commit", refuse)
    with running(broker) as worker:
        eventually(lambda: worker.worker.health().available)
        assert worker.worker.health().commit_age_s == 0.0
        send(broker, "a")
        eventually(lambda: worker.worker.health().commit_age_s > 0.5)
        worker.stream.down = True
        eventually(lambda: worker.worker.health().commit_age_s < 0.1)
        worker.stream.down = False
        eventually(lambda: worker.worker.health().commit_age_s > 0.5)
        monkeypatch.setattr(MemoryStream, "confirmed", False)
        eventually(lambda: worker.worker.health().commit_age_s < 0.1)
        monkeypatch.setattr(MemoryStream, "confirmed", True)
        eventually(lambda: worker.worker.health().commit_age_s > 0.5)
        monkeypatch.undo()
        eventually(lambda: committed(broker) == 1)
        eventually(lambda: worker.worker.health().commit_age_s == 0.0)


def test_a_member_without_partitions_idles_and_is_available() -> None:
    broker = new_broker(partitions=1)
    with running(broker, "0") as first:
        eventually(lambda: first.worker.health().partitions == 1)
        with running(broker, "1") as second:
            eventually(lambda: second.worker.health().available)
            send(broker, "a", "b")
            eventually(lambda: committed(broker) == 1)
            owned = {first.worker.health().partitions, second.worker.health().partitions}
            assert owned == {0, 1}
            assert first.worker.health().available
            assert second.worker.health().available
    assert keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) == ["a", "b"]
