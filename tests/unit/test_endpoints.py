"""Metrics and health over HTTP on loopback, and the discovery file."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline import metrics
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt
from pipeline.halts import Fault, fault_of
from workers import endpoints
from workers.endpoints import (
    PORT_WAIT_S,
    EndpointsPolicy,
    HealthEndpoint,
    MetricsEndpoint,
    update_discovery,
)
from workers.supervise.standing import Standing

ANSWER_S = 20.0
FREE = EndpointsPolicy(health_port=0, metrics_port=0)


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def targets(file: Path) -> dict[str, list[str]]:
    """Targets by worker, as Prometheus reads them."""
    return {group["labels"]["worker"]: group["targets"] for group in json.loads(file.read_text())}


def member(slot: int, group: str = "clipstream", instance: str = "host") -> Member:
    return Member("clipstream", group, instance, slot)


class Probes:
    healthy = True
    ready = False
    meter = PrometheusMeter(metrics.DRIVER_CATALOGUE)

    def endpoint(self, policy: EndpointsPolicy = FREE) -> HealthEndpoint:
        return HealthEndpoint(
            policy,
            lambda: self.healthy,
            lambda: Standing(self.ready, {}, {}, ("0 of 1 workers take in work",)),
            self.meter.registry,
        )


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def health(probes: Probes) -> Iterator[HealthEndpoint]:
    endpoint = probes.endpoint()
    yield endpoint
    endpoint.close()


# -- health -----------------------------------------------------------------------------------


def test_probes_answer_what_is_true_when_they_are_asked(
    health: HealthEndpoint, probes: Probes
) -> None:
    assert get(health.port, "/healthz") == (200, "ok\n")
    assert get(health.port, "/readyz") == (503, "no\n0 of 1 workers take in work\n")
    probes.healthy, probes.ready = False, True
    assert get(health.port, "/healthz") == (503, "no\n")
    assert get(health.port, "/readyz") == (200, "ok\n0 of 1 workers take in work\n")


def test_the_drivers_metrics_are_served_beside_its_probes(
    health: HealthEndpoint, probes: Probes
) -> None:
    probes.meter.set(metrics.DRIVER_EMPTY, 1, code="s3.no_credentials")
    status, text = get(health.port, "/metrics")
    assert status == 200
    assert 'clipstream_driver_places_empty{code="s3.no_credentials"} 1.0' in text
    assert metrics.COMMITS.name not in text


def test_other_paths_are_not_found(health: HealthEndpoint) -> None:
    assert get(health.port, "/")[0] == 404


def test_a_taken_health_port_halts_and_says_which_setting(health: HealthEndpoint) -> None:
    policy = EndpointsPolicy(health_port=health.port)
    with pytest.raises(Halt, match=rf":{health.port} cannot .* set endpoints\.health_port"):
        Probes().endpoint(policy)


def test_a_closed_health_endpoint_gives_its_port_back() -> None:
    first = Probes().endpoint()
    first.close()
    Probes().endpoint(EndpointsPolicy(health_port=first.port)).close()


# -- metrics ----------------------------------------------------------------------------------


def test_a_worker_serves_its_metrics(tmp_path: Path) -> None:
    meter = PrometheusMeter()
    meter.add(metrics.COMMITS, 3)
    endpoint = MetricsEndpoint(meter.registry, FREE, member(0))
    try:
        status, text = get(endpoint.port, "/metrics")
    finally:
        endpoint.close()
    assert status == 200
    assert f"{metrics.COMMITS.name} 3.0" in text


def test_the_order_in_which_labels_are_named_says_nothing() -> None:
    meter = PrometheusMeter()
    meter.set(metrics.LAG, 5, topic="0", partition="1")
    meter.set(metrics.LAG, 6, partition="1", topic="0")
    meter.set(metrics.LAG, 7, partition="0", topic="1")

    def lag(topic: str, partition: str) -> float | None:
        labels = {"topic": topic, "partition": partition}
        return meter.registry.get_sample_value(metrics.LAG.name, labels)

    assert (lag("0", "1"), lag("1", "0")) == (6, 7)
    meter.forget(metrics.LAG, partition="1", topic="0")
    assert (lag("0", "1"), lag("1", "0")) == (None, 7)


def test_a_scrape_that_hangs_holds_up_neither_the_next_one_nor_the_worker() -> None:
    meter = PrometheusMeter()
    endpoint = MetricsEndpoint(meter.registry, FREE, member(0))
    with (
        socket.create_connection(("127.0.0.1", endpoint.port)) as silent,
        socket.create_connection(("127.0.0.1", endpoint.port)) as deaf,
    ):
        silent.sendall(b"GET /metrics HTTP/1.1\r\n")
        # Asks, and never reads the answer.
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        meter.add(metrics.COMMITS, 3)
        status, text = get(endpoint.port, "/metrics")
        assert status == 200
        assert f"{metrics.COMMITS.name} 3.0" in text
        closing = threading.Thread(target=endpoint.close)
        closing.start()
        closing.join(ANSWER_S)
        assert not closing.is_alive()


def test_a_probe_that_hangs_holds_up_neither_the_next_one_nor_the_end(
    health: HealthEndpoint,
) -> None:
    with socket.create_connection(("127.0.0.1", health.port)) as silent:
        silent.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert get(health.port, "/healthz") == (200, "ok\n")
        closing = threading.Thread(target=health.close)
        closing.start()
        closing.join(ANSWER_S)
        assert not closing.is_alive()


def test_worker_n_listens_n_ports_above_the_first() -> None:
    meter = PrometheusMeter()
    found = MetricsEndpoint(meter.registry, FREE, member(0))
    base = found.port - 1
    found.close()
    policy = EndpointsPolicy(metrics_port=base)
    second = MetricsEndpoint(meter.registry, policy, member(1))
    try:
        assert second.port == base + 1
        with pytest.raises(Halt, match=rf":{base + 1} cannot .* set endpoints\.metrics_port"):
            MetricsEndpoint(meter.registry, policy, member(1), lambda _: None)
    finally:
        second.close()


@pytest.mark.parametrize("after", [1, 5])
def test_a_worker_waits_for_its_predecessor_to_give_the_port_up(after: int) -> None:
    meter = PrometheusMeter()
    meter.add(metrics.COMMITS)
    dying = MetricsEndpoint(meter.registry, FREE, member(0))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == after:
            dying.close()

    policy = EndpointsPolicy(metrics_port=dying.port)
    successor = MetricsEndpoint(PrometheusMeter().registry, policy, member(0), sleep)
    try:
        assert successor.port == dying.port
        assert len(waits) == after
    finally:
        successor.close()


def test_a_port_that_a_worker_keeps_is_a_fault_of_the_node_and_names_the_other() -> None:
    other = MetricsEndpoint(PrometheusMeter().registry, FREE, member(0, instance="other"))
    waits: list[float] = []
    try:
        with pytest.raises(Halt, match=r"a worker of Clipstream has it") as caught:
            MetricsEndpoint(
                PrometheusMeter().registry,
                EndpointsPolicy(metrics_port=other.port),
                member(0),
                waits.append,
            )
    finally:
        other.close()
    assert sum(waits) == pytest.approx(PORT_WAIT_S, abs=1)
    assert fault_of(caught.value.code) is Fault.NODE


def test_a_port_of_another_program_is_not_waited_for() -> None:
    def sleep(seconds: float) -> None:
        pytest.fail("it waits")

    registry = PrometheusMeter().registry
    with foreign_server() as port, pytest.raises(Halt, match=r"another program has it"):
        MetricsEndpoint(registry, EndpointsPolicy(metrics_port=port), member(0), sleep)


@contextlib.contextmanager
def foreign_server() -> Iterator[int]:
    """A program of somebody else: it answers 404 to everything."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_frozen_predecessor_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the port and answers nothing."""
    monkeypatch.setattr(endpoints, "LISTENER_ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        policy = EndpointsPolicy(metrics_port=frozen.getsockname()[1])
        successor = MetricsEndpoint(
            PrometheusMeter().registry, policy, member(0), lambda _: frozen.close()
        )
    successor.close()


# -- discovery --------------------------------------------------------------------------------


def test_an_endpoint_lists_itself_and_stays_listed_for_its_successor(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "targets.json"
    policy = FREE.model_copy(update={"discovery_file": str(file)})
    endpoint = MetricsEndpoint(PrometheusMeter().registry, policy, member(2))
    endpoint.close()
    assert targets(file) == {"2": [f"127.0.0.1:{endpoint.port}"]}


def test_an_endpoint_on_every_address_is_listed_by_the_hosts_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "pod-0")
    file = tmp_path / "targets.json"
    policy = EndpointsPolicy(host="0.0.0.0", metrics_port=0, discovery_file=str(file))
    endpoint = MetricsEndpoint(PrometheusMeter().registry, policy, member(0))
    endpoint.close()
    assert targets(file) == {"0": [f"pod-0:{endpoint.port}"]}


def test_a_restarted_worker_takes_its_own_place_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    for slot, target in ((0, "a:1"), (1, "a:2"), (0, "a:3")):
        update_discovery(file, member(slot), target)
    assert targets(file) == {"0": ["a:3"], "1": ["a:2"]}


def test_a_removed_worker_is_listed_no_more(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    update_discovery(file, member(0), "a:1")
    update_discovery(file, member(1), "a:2")
    for _ in range(2):
        update_discovery(file, member(1), None)
        assert targets(file) == {"0": ["a:1"]}


def test_workers_that_write_together_lose_none(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    writers = [
        threading.Thread(target=update_discovery, args=(file, member(slot), f"a:{slot}"))
        for slot in range(16)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert targets(file) == {str(slot): [f"a:{slot}"] for slot in range(16)}


def test_drivers_of_one_host_share_the_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    first = member(0)
    for each in (member(0, instance="other"), member(0, group="other"), first, first):
        update_discovery(file, each, f"a:{each.group}-{each.instance}")
    listed = json.loads(file.read_text())
    assert [each["labels"] for each in listed] == [
        {"worker": "0", "group": "clipstream", "driver": "other"},
        {"worker": "0", "group": "other", "driver": "host"},
        {"worker": "0", "group": "clipstream", "driver": "host"},
    ]
    update_discovery(file, first, None)
    assert json.loads(file.read_text()) == listed[:2]


def test_an_entry_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    old = [{"targets": [f"a:{slot}"], "labels": {"worker": str(slot)}} for slot in range(2)]
    file.write_text(json.dumps(old))
    update_discovery(file, member(1), "a:9")
    assert targets(file) == {"0": ["a:0"], "1": ["a:9"]}


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.touch()
    update_discovery(file, member(0), "a:1")
    assert targets(file) == {"0": ["a:1"]}


@pytest.mark.parametrize("content", ["not json", '{"a": 1}', '[{"targets": ["x:1"]}]', "5"])
def test_a_file_of_something_else_is_not_overwritten(content: str, tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(content)
    with pytest.raises(Halt, match=r"holds something else") as caught:
        update_discovery(file, member(0), "a:1")
    assert caught.value.code == "endpoints.discovery_file"
    assert file.read_text() == content


def test_a_folder_that_cannot_be_made_halts_and_gives_the_port_back(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "targets.json"
    policy = FREE.model_copy(update={"discovery_file": str(file)})
    before = threading.active_count()
    with pytest.raises(Halt, match=r"discovery_file: .*targets\.json cannot be written"):
        MetricsEndpoint(PrometheusMeter().registry, policy, member(0))
    assert threading.active_count() == before


def test_nothing_but_the_file_and_its_lock_is_left(tmp_path: Path) -> None:
    update_discovery(tmp_path / "targets.json", member(0), "a:1")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["targets.json", "targets.lock"]
