"""Clients of kafka-python, with its defects worked around."""

from __future__ import annotations

import gc
import logging
import socket
import time
import warnings
from typing import Any

import kafka.errors as kafka_errors
import pytest
from kafka.net.compat import KafkaNetClient

from pipeline.adapters.kafka import clients as kafka_clients
from pipeline.adapters.kafka.clients import connect
from tests.rigs.waiting import eventually


def test_no_client_has_the_broker_create_topics() -> None:
    """kafka-python ignores its own ``allow_auto_create_topics``."""

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    made.cluster.add_topic("mistyped")
    try:
        request = made.cluster.metadata_request()
    finally:
        made.close()
    assert request.allow_auto_topic_creation is False


@pytest.mark.parametrize(("slow_step_s", "told"), [(60.0, False), (0.01, True)])
def test_a_step_that_waits_for_a_busy_worker_is_not_told(
    slow_step_s: float,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that takes longer than a heartbeat may wait is."""
    assert kafka_clients.SLOW_STEP_S >= 1, "nobody wants to hear of every step"
    monkeypatch.setattr(kafka_clients, "SLOW_STEP_S", slow_step_s)
    caplog.set_level(logging.WARNING, "kafka.net.selector")

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    try:
        made._net.run(lambda: time.sleep(0.15))
    finally:
        made.close()
    assert ("blocking the event loop" in caplog.text) is told


def test_a_client_that_cannot_be_made_is_closed() -> None:
    made: list[KafkaNetClient] = []

    def client(kafka_client: Any) -> None:
        made.append(kafka_client(bootstrap_servers="127.0.0.1:1"))
        raise kafka_errors.KafkaTimeoutError("no broker")

    with pytest.raises(kafka_errors.KafkaTimeoutError):
        connect(client, {})
    assert made[0]._manager.closed


@pytest.mark.parametrize("threaded", [False, True])
def test_a_closed_client_closes_sockets_that_it_waits_for(*, threaded: bool) -> None:
    """kafka-python leaves them to the garbage collector, as while a connection is made: nothing but
    the task that waits holds the socket then. Consumers have an I/O thread."""

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def wait() -> None:
            await made._net.wait_read(socket.create_connection(silent.getsockname()))

        if threaded:
            made._net.start()
        made._net.call_soon_threadsafe(wait)
        if threaded:
            eventually(lambda: len(made._net._selector.get_map()) > 1)
        else:
            made._net.drain()
        with warnings.catch_warnings(record=True) as left_open:
            warnings.simplefilter("always")
            made.close()
            gc.collect()
        with silent.accept()[0] as peer:
            assert peer.recv(1) == b"", "the connection has ended"
    assert left_open == []
