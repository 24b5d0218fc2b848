"""A worker whose link to the broker is bad without being down."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import pytest

from tests.fault.proxy import ProxyLoop, TcpProxy
from tests.fault.worker_of_deployment import classified, references, working
from tests.kafka_deployment import Deployment
from tests.waiting import eventually
from workers.demo.kafka import EmbeddedKafka
from workers.demo.processes import free_ports

pytestmark = [pytest.mark.component, pytest.mark.timeout(180)]

KEYS = [f"{number:03}" for number in range(40)]
DELAY_S = 0.3
BREAKS = 12


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


def behind(proxy: TcpProxy, deployment: Deployment) -> Deployment:
    """The same, as it is seen through the proxy."""
    seen = copy.copy(deployment)
    servers = (f"127.0.0.1:{proxy.port}",)
    seen.kafka = deployment.kafka.model_copy(update={"bootstrap_servers": servers})
    return seen


def test_a_broker_that_is_far_away_makes_a_worker_slow_and_nothing_else(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    proxy.delay(DELAY_S)
    began = time.monotonic()
    with working(behind(proxy, deployment)) as worker:
        worker.has_committed(len(KEYS))
        # A transaction takes several questions, each of which waits for its answer.
        assert time.monotonic() - began > 4 * 2 * DELAY_S
        assert worker.failed_commits == 0
        eventually(lambda: worker.available)
    assert classified(deployment) == KEYS


def test_answers_that_break_off_cost_their_connection_and_nothing_else(
    deployment: Deployment, proxy: TcpProxy
) -> None:
    with working(behind(proxy, deployment)) as worker:
        worker.has_committed(1)
        proxy.break_answers(BREAKS)
        eventually(lambda: proxy.breaks_left == 0)
        deployment.produce(references("late"))
        worker.has_committed(len(KEYS) + 1)
    assert classified(deployment) == [*KEYS, "late"]
