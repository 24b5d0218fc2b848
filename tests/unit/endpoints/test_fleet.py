"""The driver serves the series of all its workers, and says of each place whether it answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter, merged
from pipeline.metrics import BACKFILL_WORKER, DRIVER_METRICS, SERVE_REPLICA, STREAM_WORKER
from workers.endpoints import fleet
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.fleet import Place, reached
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EndpointsPolicy
from workers.endpoints.worker import MetricsEndpoint
from workers.supervise.standing import NOTHING_YET

ANSWER_S = 20.0
SHORT_S = 0.3
"""A time limit that a test lets pass."""
FREE = EndpointsPolicy(health_port=0, metrics_port=0)

Sample = tuple[str, frozenset[tuple[str, str]], float]


def stream(slot: int) -> EndpointId:
    return EndpointId("stream", "pod-0", slot, {"group": "live"})


@contextlib.contextmanager
def worker(identity: EndpointId, meter: PrometheusMeter) -> Iterator[Place]:
    """A worker's own endpoint, as its process serves it."""
    endpoint = MetricsEndpoint(meter.registry, FREE, identity)
    try:
        yield Place(identity, f"127.0.0.1:{endpoint.port}")
    finally:
        endpoint.close()


@contextlib.contextmanager
def driver(places: Sequence[Place], meter: PrometheusMeter | None = None) -> Iterator[int]:
    """The port of a driver of these places."""
    meter = meter or PrometheusMeter(DRIVER_METRICS)
    endpoint = HealthEndpoint(
        FREE, lambda: True, lambda: NOTHING_YET, meter.registry, places=lambda: places
    )
    try:
        yield endpoint.port
    finally:
        endpoint.close()


def get(port: int, path: str) -> tuple[str, str]:
    """Content type and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return response.headers["Content-Type"], body
    finally:
        connection.close()


def read(text: str) -> list[Sample]:
    """All samples, as Prometheus reads them. A metric whose lines are apart would be a second
    family."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(family.type != "unknown" and family.documentation for family in families)
    found = [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in families
        for sample in family.samples
    ]
    series = [(name, labels) for name, labels, _ in found]
    assert len(series) == len(set(series)), "a series stands twice"
    return found


def values(samples: list[Sample], name: str, label: str = "worker") -> dict[str, float]:
    """Values of a metric by one of its labels."""
    return {dict(labels)[label]: value for each, labels, value in samples if each == name}


def test_the_driver_serves_the_series_of_all_its_workers_with_their_labels() -> None:
    meters = [PrometheusMeter(STREAM_WORKER) for _ in range(2)]
    for number, meter in enumerate(meters):
        meter.add(metrics.COMMITS, number + 3)
        meter.add(metrics.DEAD_LETTERS, code='a "quoted" code\\with\nall')
        meter.observe(metrics.BATCH_SIZE, 8)
    own = PrometheusMeter(DRIVER_METRICS)
    own.set(metrics.DRIVER_WORKERS, 2, state="ready")
    with (
        worker(stream(0), meters[0]) as first,
        worker(stream(1), meters[1]) as second,
        driver([first, second], own) as port,
    ):
        content_type, text = get(port, "/metrics/all")
    assert content_type.startswith("text/plain; version=")
    samples = read(text)
    labels = {"kind": "stream", "worker": "1", "group": "live", "driver": "pod-0"}
    assert (metrics.COMMITS.name, frozenset(labels.items()), 4.0) in samples
    code = {"code": 'a "quoted" code\\with\nall'}
    assert (metrics.DEAD_LETTERS.name, frozenset((labels | code).items()), 1.0) in samples
    assert values(samples, f"{metrics.BATCH_SIZE.name}_count") == {"0": 1.0, "1": 1.0}
    assert values(samples, metrics.WORKER_UP.name) == {"0": 1.0, "1": 1.0}
    assert values(samples, metrics.DRIVER_WORKERS.name, "state") == {"ready": 2.0}
    # Every series of the workers is there, and nothing else is but the driver's.
    expected = sum(len(read(generate_latest(meter.registry).decode())) for meter in meters)
    assert sum("worker" in dict(labels) for _, labels, _ in samples) == expected + 2


def test_workers_of_every_kind_are_served_together() -> None:
    kinds = [
        (stream(0), STREAM_WORKER),
        (EndpointId("backfill", "pod-0", 0, {"backfill": "9f0a"}), BACKFILL_WORKER),
        (EndpointId("serve", "pod-0", 0, {"node": "a"}), SERVE_REPLICA),
        (EndpointId("serve", "pod-0", 0, {"node": "b"}), SERVE_REPLICA),
    ]
    with contextlib.ExitStack() as owned:
        places = [
            owned.enter_context(worker(identity, PrometheusMeter(catalogue)))
            for identity, catalogue in kinds
        ]
        port = owned.enter_context(driver(places))
        samples = read(get(port, "/metrics/all")[1])
    up = [dict(labels) for name, labels, value in samples if name == metrics.WORKER_UP.name]
    nothing = dict.fromkeys(metrics.WORKER_UP.labels, "")
    assert up == [nothing | identity.labels for identity, _ in kinds]


def test_an_absent_worker_is_visible_and_its_series_are_not() -> None:
    """A place whose worker is away has no series that looks like a measurement."""
    with contextlib.ExitStack() as owned:
        there = owned.enter_context(worker(stream(0), PrometheusMeter(STREAM_WORKER)))
        with worker(stream(2), PrometheusMeter(STREAM_WORKER)) as gone:
            pass
        port = owned.enter_context(driver([there, Place(stream(1), None), gone]))
        samples = read(get(port, "/metrics/all")[1])
    assert values(samples, metrics.WORKER_UP.name) == {"0": 1.0, "1": 0.0, "2": 0.0}
    assert values(samples, metrics.COMMITS.name) == {"0": 0.0}


@contextlib.contextmanager
def listener(
    answer: bytes,
    then_every_s: float | None = None,
    before: Callable[[], object] = lambda: None,
) -> Iterator[str]:
    """Something that answers every request with these bytes, once ``before`` has returned, and goes
    on with one more byte at a time, or with nothing until the end."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, threading.BrokenBarrierError):
            connection.recv(1024)
            before()
            connection.sendall(answer)
            while then_every_s is not None and not over.wait(then_every_s):
                connection.sendall(b"#")

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(ANSWER_S)


HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
OURS = b"# HELP clipstream_commits_total x\n# TYPE clipstream_commits_total counter\n"


def give_up_soon(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there has a moment to answer. The other workers keep their time."""
    answer = fleet._answer

    def hurried(asked: str, until: float) -> str | None:
        return answer(asked, time.monotonic() + SHORT_S if asked == address else until)

    monkeypatch.setattr(fleet, "_answer", hurried)


@pytest.mark.parametrize(
    ("answer", "then_every_s"),
    [
        pytest.param(b"", 3600.0, id="silent"),
        pytest.param(HEAD + OURS, 0.01, id="never ends"),
        pytest.param(HEAD + b"# HELP other x\n", None, id="another program"),
        pytest.param(HEAD + OURS + b"\xff\xfe\n", None, id="no text"),
        pytest.param(HEAD.replace(b"200 OK", b"500 No") + OURS, None, id="an error"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", None, id="no http"),
    ],
)
def test_a_worker_without_a_valid_answer_is_not_up_and_hides_no_other(
    answer: bytes, then_every_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "ANSWER_S", ANSWER_S / 2)
    with (
        worker(stream(1), PrometheusMeter(STREAM_WORKER)) as there,
        listener(answer, then_every_s) as address,
        driver([Place(stream(0), address), there]) as port,
    ):
        give_up_soon(address, monkeypatch)
        samples = read(get(port, "/metrics/all")[1])
    assert values(samples, metrics.WORKER_UP.name) == {"0": 0.0, "1": 1.0}
    assert values(samples, metrics.COMMITS.name) == {"1": 0.0}


def test_workers_that_do_not_end_their_answer_hold_up_the_driver_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "ANSWER_S", SHORT_S)
    with (
        listener(b"", 3600.0) as silent,
        listener(HEAD + OURS, 0.01) as endless,
        driver([Place(stream(0), silent), Place(stream(1), endless)]) as port,
    ):
        samples = read(get(port, "/metrics/all")[1])
    assert values(samples, metrics.WORKER_UP.name) == {"0": 0.0, "1": 0.0}


def test_workers_are_asked_together_and_not_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each hangs until all are asked. One after the other, the first would hang until the end."""
    monkeypatch.setattr(fleet, "ANSWER_S", ANSWER_S / 2)
    all_asked = threading.Barrier(20)
    with (
        listener(HEAD + OURS, before=lambda: all_asked.wait(ANSWER_S)) as address,
        driver([Place(stream(slot), address) for slot in range(20)]) as port,
    ):
        samples = read(get(port, "/metrics/all")[1])
    assert list(values(samples, metrics.WORKER_UP.name).values()) == [1.0] * 20


def test_a_driver_without_workers_serves_its_own_series() -> None:
    with driver([]) as port:
        samples = read(get(port, "/metrics/all")[1])
    assert [name for name, _, _ in samples] == [
        metrics.WORKER_DEATHS.name,
        metrics.WORKER_DEATHS.name.replace("_total", "_created"),
    ]


def test_targets_are_those_of_workers_that_can_be_asked() -> None:
    with driver([Place(stream(0), "10.0.0.7:9400"), Place(stream(1), None)]) as port:
        content_type, body = get(port, "/targets")
    assert content_type == "application/json"
    assert json.loads(body) == [
        {
            "targets": ["10.0.0.7:9400"],
            "labels": {"kind": "stream", "worker": "0", "group": "live", "driver": "pod-0"},
        }
    ]


def test_no_label_of_a_worker_is_one_that_prometheus_gives_a_scrape() -> None:
    """Prometheus would rename it to exported_… ."""
    assert {"job", "instance"}.isdisjoint(metrics.WORKER_UP.labels)
    of_metrics = {
        name for each in (*STREAM_WORKER, *BACKFILL_WORKER, *SERVE_REPLICA) for name in each.labels
    }
    assert of_metrics.isdisjoint(metrics.WORKER_UP.labels)


# -- merging ----------------------------------------------------------------------------------


def test_expositions_are_merged_by_metric() -> None:
    one = "# HELP a_total x\n# TYPE a_total counter\na_total 1.0\n"
    two = '# HELP a_total x\n# TYPE a_total counter\na_total{code="b c{"} 2.0\na_total{} 3\n'
    assert merged([(one, {"worker": "0"}), (two, {"worker": "1"}), (one, {})]) == (
        "# HELP a_total x\n# TYPE a_total counter\n"
        'a_total{worker="0"} 1.0\n'
        'a_total{worker="1",code="b c{"} 2.0\n'
        'a_total{worker="1"} 3\n'
        "a_total 1.0\n"
    )


def test_labels_are_escaped_when_they_are_added() -> None:
    one = "# HELP a x\n# TYPE a gauge\na 1.0\n"
    added = {"group": 'a"b\\c\nd'}
    ((_, labels, _),) = read(merged([(one, added)]))
    assert dict(labels) == added


# -- where a worker is reached ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "same_machine", "address"),
    [
        ("0.0.0.0", False, "10.1.2.3:9401"),
        ("0.0.0.0", True, "10.1.2.3:9401"),
        ("::", False, "10.1.2.3:9401"),
        ("10.9.9.9", False, "10.9.9.9:9401"),
        ("127.0.0.1", True, "127.0.0.1:9401"),
        ("::1", True, "[::1]:9401"),
        ("localhost", True, "localhost:9401"),
        # On the driver's own machine another worker may have that port.
        ("127.0.0.1", False, None),
        ("localhost", False, None),
        ("::1", False, None),
    ],
)
def test_a_worker_is_asked_where_it_listens(
    host: str, same_machine: bool, address: str | None
) -> None:
    assert reached(host, 9401, "10.1.2.3", same_machine=same_machine) == address
