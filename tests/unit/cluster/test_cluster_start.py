"""How the driver joins or starts Ray, over a Ray that does what the test says."""

from __future__ import annotations

import importlib
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.errors import Halt, Retry
from workers.cluster.start import PATIENCE_S, cluster_address, patiently, start_ray


class StartingRay:
    """As much of Ray's module as starting it uses."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.error: Exception | None = None
        self.shut_down = 0

    def init(self, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray's does
        self.options = options
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None:
        self.shut_down += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> StartingRay:
    for private in ("ray._private.services", "ray._private.node"):
        importlib.import_module(private)  # they stay Ray's own
    starting = StartingRay()
    monkeypatch.setitem(sys.modules, "ray", starting)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return starting


@pytest.fixture
def head() -> Iterator[str]:
    """The address of somebody who listens."""
    with socket.create_server(("", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("address", [None, "", "local"])
def test_without_an_address_a_ray_of_its_own_is_started_whatever_a_file_on_the_host_names(
    address: str | None, ray: StartingRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    start_ray(3)
    assert ray.options["address"] == "local"
    assert ray.options["num_cpus"] == 3


def test_a_cluster_that_is_joined_has_the_room_that_it_has(
    ray: StartingRay, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", head)
    start_ray(3)
    assert cluster_address() == head
    assert ray.options.keys() == {"log_to_driver", "logging_level"}


def test_the_drivers_own_handler_of_sigterm_stands_afterwards(ray: StartingRay) -> None:
    before = signal.getsignal(signal.SIGTERM)
    start_ray(1)
    assert signal.getsignal(signal.SIGTERM) is before
    ray.error = Exception("too slow")
    with pytest.raises(Retry):
        start_ray(1)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        # What Ray raises where the raylet was too slow: nothing but a message.
        (Exception("The current node timed out during startup."), Retry),
        (RuntimeError("Failed to get the port"), Retry),
        (ConnectionError("Failed to connect to Ray cluster"), Retry),
        (ValueError("object_store_memory must be an integer"), Halt),
        (PermissionError(13, "Permission denied", "/tmp/ray"), Halt),
    ],
)
def test_a_node_that_did_not_start_in_time_is_a_passing_failure(
    error: Exception, fate: type[Halt] | type[Retry], ray: StartingRay
) -> None:
    ray.error = error
    with pytest.raises(fate, match=r"RAY_ADDRESS is not set") as caught:
        start_ray(1)
    assert caught.value.code == "ray.not_started"
    assert ray.shut_down == 1


def test_an_address_where_nobody_listens_is_told_at_once_and_ray_is_not_asked(
    ray: StartingRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(Retry, match=r"nobody answers at \S+:1 "):
        start_ray(1)
    assert not ray.options


@pytest.mark.usefixtures("ray")
def test_what_is_no_address_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head")
    with pytest.raises(Halt, match="RAY_ADDRESS is head"):
        start_ray(1)


class Attempts:
    """A start that fails in passing so many times."""

    def __init__(self, failures: float) -> None:
        self.clock = HandClock()
        self.tried = 0
        self._failures = failures

    def start(self) -> str:
        self.tried += 1
        if self.tried <= self._failures:
            raise Retry("ray.not_started", "ray: too slow")
        return "cluster"

    def wait(self, seconds: float) -> bool:
        self.clock.now += seconds
        return False

    def run(self, wait: Callable[[float], bool] | None = None) -> str | None:
        return patiently(self.start, wait or self.wait, self.clock, random.Random(0))


def test_a_start_that_failed_in_passing_is_tried_again_after_growing_waits() -> None:
    attempts = Attempts(3)
    assert attempts.run() == "cluster"
    assert attempts.tried == 4


def test_a_driver_whose_own_ray_never_starts_ends_with_a_passing_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    attempts = Attempts(float("inf"))
    with pytest.raises(Retry, match="too slow"):
        attempts.run()
    assert attempts.tried > 3
    assert attempts.clock.now - 1000.0 >= PATIENCE_S


def test_a_named_cluster_that_never_answers_halts_the_driver_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    attempts = Attempts(float("inf"))
    with pytest.raises(Halt, match="write the address of the cluster's head") as caught:
        attempts.run()
    assert caught.value.code == "ray.not_started"
    assert attempts.clock.now - 1000.0 >= PATIENCE_S


def test_a_driver_that_is_asked_to_stop_meanwhile_tries_no_more() -> None:
    attempts = Attempts(float("inf"))
    assert attempts.run(lambda _: True) is None
    assert attempts.tried == 1
