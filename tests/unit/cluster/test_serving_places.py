"""Where the driver of `clipstream serve` finds the metrics of its replicas."""

from __future__ import annotations

import socket

from workers.cluster.serving.board import SILENT_S, Heard, Report, State
from workers.cluster.serving.places import replica_places
from workers.endpoints.policy import EndpointsPolicy
from workers.settings.loading import Settings

OPEN = Settings(endpoints=EndpointsPolicy(host="0.0.0.0"))


def heard(
    slot: int,
    *,
    node: str = "gpu-1",
    age_s: float = 0.5,
    state: State = State.READY,
    listening: tuple[str, int] | None = ("10.0.0.7", 9500),
) -> Heard:
    return Heard(Report(f"{node}-{slot}-{age_s}", node, state, listening=listening), slot, age_s)


def addresses(*replicas: Heard, settings: Settings = OPEN) -> dict[tuple[str, str], str | None]:
    """By node and number."""
    places = replica_places(settings, replicas)
    labels = [place.identity.labels for place in places]
    return {
        (each["node"], each["worker"]): place.address
        for each, place in zip(labels, places, strict=True)
    }


def test_replicas_of_several_nodes_are_told_apart() -> None:
    other = heard(0, node="gpu-2", listening=("10.0.0.8", 9500))
    assert addresses(heard(0), heard(1, listening=("10.0.0.7", 9501)), other) == {
        ("gpu-1", "0"): "10.0.0.7:9500",
        ("gpu-1", "1"): "10.0.0.7:9501",
        ("gpu-2", "0"): "10.0.0.8:9500",
    }


def test_a_replica_that_died_shows_as_absent_until_another_has_its_number() -> None:
    dead = heard(0, age_s=SILENT_S + 1)
    assert addresses(dead) == {("gpu-1", "0"): None}
    successor = heard(0, listening=("10.0.0.7", 9502))
    assert addresses(successor, dead) == {("gpu-1", "0"): "10.0.0.7:9502"}
    assert addresses(dead, successor) == {("gpu-1", "0"): "10.0.0.7:9502"}


def test_a_replica_that_ended_in_order_is_not_missed() -> None:
    assert addresses(heard(0, state=State.ENDED)) == {}


def test_a_replica_that_starts_has_no_metrics_yet() -> None:
    assert addresses(heard(0, state=State.STARTING, listening=None)) == {("gpu-1", "0"): None}


def test_a_replica_that_listens_on_loopback_is_asked_on_its_own_machine_only() -> None:
    settings = Settings()
    here = socket.gethostname()
    assert addresses(heard(0), settings=settings) == {("gpu-1", "0"): None}
    assert addresses(heard(0, node=here), settings=settings) == {(here, "0"): "127.0.0.1:9500"}
