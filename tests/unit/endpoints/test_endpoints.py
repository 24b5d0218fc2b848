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
from prometheus_client import CollectorRegistry

from pipeline import metrics
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt
from pipeline.halts import Fault, fault_of
from pipeline.metrics import STREAM_WORKER
from workers.endpoints import worker
from workers.endpoints.discovery import update_discovery
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EndpointsPolicy
from workers.endpoints.worker import PORT_WAIT_S, MetricsEndpoint
from workers.stream.wiring import endpoint_of
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


def registry() -> CollectorRegistry:
    return PrometheusMeter(STREAM_WORKER).registry


def stream(slot: int, group: str = "clipstream", instance: str = "host") -> EndpointId:
    return endpoint_of(Member("clipstream", group, instance, slot))


class Probes:
    healthy = True
    ready = False
    meter = PrometheusMeter(metrics.DRIVER_METRICS)

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
    meter = PrometheusMeter(STREAM_WORKER)
    meter.add(metrics.COMMITS, 3)
    endpoint = MetricsEndpoint(meter.registry, FREE, stream(0))
    try:
        status, text = get(endpoint.port, "/metrics")
    finally:
        endpoint.close()
    assert status == 200
    assert f"{metrics.COMMITS.name} 3.0" in text


def test_a_scrape_that_hangs_holds_up_neither_the_next_one_nor_the_worker() -> None:
    meter = PrometheusMeter(STREAM_WORKER)
    endpoint = MetricsEndpoint(meter.registry, FREE, stream(0))
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
    meter = PrometheusMeter(STREAM_WORKER)
    found = MetricsEndpoint(meter.registry, FREE, stream(0))
    base = found.port - 1
    found.close()
    policy = EndpointsPolicy(metrics_port=base)
    second = MetricsEndpoint(meter.registry, policy, stream(1))
    try:
        assert second.port == base + 1
        with pytest.raises(Halt, match=rf":{base + 1} cannot .* set endpoints\.metrics_port"):
            MetricsEndpoint(meter.registry, policy, stream(1), lambda _: None)
    finally:
        second.close()


@pytest.mark.parametrize("after", [1, 5])
def test_a_worker_waits_for_its_predecessor_to_give_the_port_up(after: int) -> None:
    meter = PrometheusMeter(STREAM_WORKER)
    meter.add(metrics.COMMITS)
    dying = MetricsEndpoint(meter.registry, FREE, stream(0))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == after:
            dying.close()

    policy = EndpointsPolicy(metrics_port=dying.port)
    successor = MetricsEndpoint(registry(), policy, stream(0), sleep)
    try:
        assert successor.port == dying.port
        assert len(waits) == after
    finally:
        successor.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program on a port has all the time that it needs to say what it is."""
    monkeypatch.setattr(worker, "LISTENER_ANSWER_S", ANSWER_S)


@pytest.mark.usefixtures("patient")
def test_a_port_that_a_worker_keeps_is_a_fault_of_the_node_and_names_the_other() -> None:
    other = MetricsEndpoint(registry(), FREE, stream(0, instance="other"))
    waits: list[float] = []
    try:
        with pytest.raises(Halt, match=r"a worker of Clipstream has it") as caught:
            MetricsEndpoint(
                registry(),
                EndpointsPolicy(metrics_port=other.port),
                stream(0),
                waits.append,
            )
    finally:
        other.close()
    assert sum(waits) == pytest.approx(PORT_WAIT_S, abs=1)
    assert fault_of(caught.value.code) is Fault.NODE


@pytest.mark.usefixtures("patient")
def test_a_port_of_another_program_is_not_waited_for() -> None:
    def sleep(seconds: float) -> None:
        pytest.fail("it waits")

    with foreign_server() as port, pytest.raises(Halt, match=r"another program has it"):
        MetricsEndpoint(registry(), EndpointsPolicy(metrics_port=port), stream(0), sleep)


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
    monkeypatch.setattr(worker, "LISTENER_ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        policy = EndpointsPolicy(metrics_port=frozen.getsockname()[1])
        successor = MetricsEndpoint(registry(), policy, stream(0), lambda _: frozen.close())
    successor.close()


# -- discovery --------------------------------------------------------------------------------


def test_an_endpoint_lists_itself_and_stays_listed_for_its_successor(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "targets.json"
    policy = FREE.model_copy(update={"discovery_file": str(file)})
    endpoint = MetricsEndpoint(registry(), policy, stream(2))
    endpoint.close()
    assert targets(file) == {"2": [f"127.0.0.1:{endpoint.port}"]}


def test_an_endpoint_on_every_address_is_listed_by_the_hosts_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "pod-0")
    file = tmp_path / "targets.json"
    policy = EndpointsPolicy(host="0.0.0.0", metrics_port=0, discovery_file=str(file))
    endpoint = MetricsEndpoint(registry(), policy, stream(0))
    endpoint.close()
    assert targets(file) == {"0": [f"pod-0:{endpoint.port}"]}


def test_a_restarted_worker_takes_its_own_place_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    for slot, target in ((0, "a:1"), (1, "a:2"), (0, "a:3")):
        update_discovery(file, stream(slot), target)
    assert targets(file) == {"0": ["a:3"], "1": ["a:2"]}


def test_a_removed_worker_is_listed_no_more(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    update_discovery(file, stream(0), "a:1")
    update_discovery(file, stream(1), "a:2")
    for _ in range(2):
        update_discovery(file, stream(1), None)
        assert targets(file) == {"0": ["a:1"]}


def test_workers_that_write_together_lose_none(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    writers = [
        threading.Thread(target=update_discovery, args=(file, stream(slot), f"a:{slot}"))
        for slot in range(16)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert targets(file) == {str(slot): [f"a:{slot}"] for slot in range(16)}


def test_drivers_of_one_host_share_the_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    first = stream(0)
    for each in (stream(0, instance="other"), stream(0, group="other"), first, first):
        update_discovery(file, each, f"a:{each.also['group']}-{each.instance}")
    listed = json.loads(file.read_text())
    assert [each["labels"] for each in listed] == [
        {"kind": "stream", "worker": "0", "group": "clipstream", "driver": "other"},
        {"kind": "stream", "worker": "0", "group": "other", "driver": "host"},
        {"kind": "stream", "worker": "0", "group": "clipstream", "driver": "host"},
    ]
    update_discovery(file, first, None)
    assert json.loads(file.read_text()) == listed[:2]


def test_an_entry_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    old = [{"targets": [f"a:{slot}"], "labels": {"worker": str(slot)}} for slot in range(2)]
    file.write_text(json.dumps(old))
    update_discovery(file, stream(1), "a:9")
    assert targets(file) == {"0": ["a:0"], "1": ["a:9"]}


def test_workers_of_several_kinds_share_the_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    before = [{"targets": ["a:0"], "labels": {"worker": "0", "group": "g", "driver": "host"}}]
    file.write_text(json.dumps(before))
    serve = EndpointId("serve", "host", 0)
    update_discovery(file, serve, "a:1")
    update_discovery(file, stream(0, "g"), "a:2")
    update_discovery(file, serve, "a:3")
    listed = {each["labels"]["kind"]: each for each in json.loads(file.read_text())}
    assert listed["stream"]["targets"] == ["a:2"]
    assert listed["serve"] == {
        "targets": ["a:3"],
        "labels": {"kind": "serve", "worker": "0", "driver": "host"},
    }
    assert len(json.loads(file.read_text())) == 2


def test_no_label_of_a_worker_is_one_of_a_metric() -> None:
    """Prometheus would rename the metric's."""
    of_metrics = {name for metric in STREAM_WORKER for name in metric.labels}
    assert of_metrics.isdisjoint({*stream(0).labels, "instance", "job"})


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.touch()
    update_discovery(file, stream(0), "a:1")
    assert targets(file) == {"0": ["a:1"]}


@pytest.mark.parametrize("content", ["not json", '{"a": 1}', '[{"targets": ["x:1"]}]', "5"])
def test_a_file_of_something_else_is_not_overwritten(content: str, tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(content)
    with pytest.raises(Halt, match=r"holds something else") as caught:
        update_discovery(file, stream(0), "a:1")
    assert caught.value.code == "endpoints.discovery_file"
    assert file.read_text() == content


def test_a_folder_that_cannot_be_made_halts_and_gives_the_port_back(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "targets.json"
    policy = FREE.model_copy(update={"discovery_file": str(file)})
    before = set(threading.enumerate())
    with pytest.raises(Halt, match=r"discovery_file: .*targets\.json cannot be written"):
        MetricsEndpoint(registry(), policy, stream(0))
    assert set(threading.enumerate()) <= before


def test_nothing_but_the_file_and_its_lock_is_left(tmp_path: Path) -> None:
    update_discovery(tmp_path / "targets.json", stream(0), "a:1")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["targets.json", "targets.lock"]
