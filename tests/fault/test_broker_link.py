"""A worker whose link to the broker is bad without being down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import OffsetSpec

from pipeline.records.progress import Progress
from tests.fault.proxy import ProxyLoop, TcpProxy
from tests.rigs.services.kafka_deployment import Deployment, Polling
from tests.rigs.waiting import eventually
from tests.rigs.workers.worker_of_deployment import classified, references, working
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import free_ports

pytestmark = pytest.mark.component

KEYS = [f"{number:03}" for number in range(40)]
DELAY_S = 0.3
BREAKS = 12

MANY = 500
"""Partitions: asked for one at a time, their offsets take twice the time that there is for all."""
MANY_DELAY_S = 0.02
OLD = 2
FEW = 30
"""Requests that a member may need until it can commit, whatever it owns."""


@pytest.fixture(scope="module")
def link(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[EmbeddedKafka, TcpProxy]]:
    """A broker, and a proxy before a listener of its own."""
    listener, port = free_ports(2)
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedKafka(folder, proxied={listener: port}) as broker, ProxyLoop() as loop:
        yield broker, loop.proxy(port, listener)


@pytest.fixture
def proxy(link: tuple[EmbeddedKafka, TcpProxy]) -> Iterator[TcpProxy]:
    yield link[1]
    link[1].heal()


@pytest.fixture
def deployment(link: tuple[EmbeddedKafka, TcpProxy]) -> Iterator[Deployment]:
    with Deployment(link[0].bootstrap) as opened:
        opened.produce(references(*KEYS[::2]), partition=0)
        opened.produce(references(*KEYS[1::2]), partition=1)
        yield opened


def test_a_broker_that_is_far_away_makes_a_worker_slow_and_nothing_else(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    proxy.delay(DELAY_S)
    began = time.monotonic()
    with working(deployment.through(proxy.port)) as worker:
        worker.has_committed(len(KEYS))
        # A transaction takes several questions, each of which waits for its answer.
        assert time.monotonic() - began > 4 * 2 * DELAY_S
        assert worker.failed_commits == 0
        eventually(lambda: worker.available)
    assert classified(deployment) == KEYS


def test_answers_that_break_off_cost_their_connection_and_nothing_else(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    with working(deployment.through(proxy.port)) as worker:
        worker.has_committed(1)
        proxy.break_answers(BREAKS)
        eventually(lambda: proxy.breaks_left == 0)
        deployment.produce(references("late"))
        worker.has_committed(len(KEYS) + 1)
    assert classified(deployment) == [*KEYS, "late"]


def test_a_member_of_many_partitions_asks_for_all_their_offsets_at_once(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    """Two partitions have committed offsets, the others were added to the topic."""
    deployment.admin.client.create_partitions({deployment.input: MANY})
    eventually(lambda: deployment.partitions == MANY)
    every = [TopicPartition(deployment.input, number) for number in range(MANY)]
    # Until each has a leader: the client asks for those that have none again and again.
    deployment.admin.client.list_partition_offsets(dict.fromkeys(every, OffsetSpec.LATEST))
    proxy.delay(MANY_DELAY_S)
    stream = deployment.through(proxy.port).stream()
    asked: Counter[str] = Counter()
    send = stream._consumer._manager.send

    def counted(request: Any, *arguments: Any, **options: Any) -> Any:
        asked[type(request).__name__] += 1
        return send(request, *arguments, **options)

    stream._consumer._manager.send = counted
    polling = Polling(stream)
    polling.until(lambda: len(polling.owned) == MANY)
    offsets = polling.recover()
    assert offsets == {
        deployment.partition(number): Progress(0) if number < OLD else None
        for number in range(MANY)
    }
    assert 0 < asked["OffsetFetchRequest"] < FEW
    assert 0 < asked["ListOffsetsRequest"] < FEW


def test_while_a_broker_does_not_answer_the_ends_of_paused_partitions_stay_as_last_heard(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    polling = Polling(deployment.through(proxy.port).stream())
    polling.until(lambda: len(polling.owned) == OLD)
    stream, first = polling.stream, deployment.partition(0)
    stream.pause(polling.owned)
    deployment.produce(references("paused"))
    before = len(KEYS[::2]) + 1
    polling.until(lambda: stream.ends().get(first) == before)
    proxy.stall()
    deployment.produce(references("unheard"))
    asked = stream._ends._unanswered
    polling.until(lambda: bool(asked))
    polling.once()
    assert stream.ends()[first] == before
    proxy.heal()
    polling.until(lambda: stream.ends()[first] == before + 1)
