"""`clipstream stream`: what the driver refuses before it contacts anything."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.routes import RoutePolicy
from tests.rigs.root import ROOT
from workers.cluster.reservation import Reservation
from workers.commands import stream
from workers.endpoints.policy import EndpointsPolicy
from workers.label_sets import load_routes
from workers.settings.loading import Settings

LABELS = ROOT / "deploy/examples/label-sets/moderation.yaml"


def settings_of(*paths: Path, route: str | None = None) -> Settings:
    return Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        label_sets=LabelSetsPolicy(paths=paths),
        routes=(RoutePolicy(label_sets=(route,)),) if route else (),
    )


def test_label_sets_and_routes_are_loaded_without_a_model() -> None:
    label_sets, _ = load_routes(settings_of(LABELS, route="moderation"))
    assert [label_set.name for label_set in label_sets] == ["moderation"]


def test_removals_are_read_where_they_are_published() -> None:
    settings = settings_of(LABELS)
    assert not load_routes(settings)[1].removals
    events = settings.events.model_copy(update={"removals": True})
    assert load_routes(settings.model_copy(update={"events": events}))[1].removals


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        (Settings(), "settings.invalid", "nothing may be read"),
        (settings_of(), "label_set.none", "no label set is configured"),
        (settings_of(Path("/nope.yaml")), "label_set.invalid", "/nope.yaml: cannot be read"),
        (settings_of(LABELS, route="gone"), "settings.invalid", "label set 'gone' is not loaded"),
    ],
)
def test_missing_stores_wrong_label_sets_and_routes_end_the_driver_before_kafka_and_ray(
    settings: Settings, code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KafkaAdmin", None)
    monkeypatch.setattr(stream, "Cluster", None)
    with pytest.raises(Halt, match=says) as caught:
        stream.run_stream(settings, None)
    assert caught.value.code == code


def named(group: str, instance: str, *servers: str) -> Settings:
    kafka = KafkaPolicy(
        group=group, instance=instance, bootstrap_servers=servers or ("localhost:9092",)
    )
    return settings_of(LABELS).model_copy(update={"kafka": kafka})


@pytest.fixture
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("lock_folder")
def test_a_second_driver_of_the_same_name_is_refused() -> None:
    settings = named("g", "i", "a:1", "b:1")
    with stream._only_driver(settings):
        again = named("g", "i", "b:1", "a:1")
        with pytest.raises(Halt, match=r"kafka\.instance") as caught, stream._only_driver(again):
            pass
    assert caught.value.code == "stream.second_driver"
    with stream._only_driver(settings):
        pass


@pytest.mark.usefixtures("lock_folder")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (named("clipstream", "live-h1"), named("clipstream-live", "h1")),
        (named("g", "i", "staging:9092"), named("g", "i", "production:9092")),
        (named("g", "one"), named("g", "two")),
        (named("g", "i"), named("h", "i")),
    ],
)
def test_drivers_that_share_nothing_run_side_by_side(one: Settings, other: Settings) -> None:
    with stream._only_driver(one), stream._only_driver(other):
        pass


@pytest.mark.usefixtures("lock_folder")
def test_names_may_be_as_long_as_kafka_takes_them() -> None:
    with stream._only_driver(named("g" * 249, "i" * 249)):
        pass


class FakeCluster:
    """Notes whether it was closed."""

    closed = False
    reservation = Reservation(0.0, 1.0, "of a test")

    def __init__(self, settings: Settings) -> None:
        FakeCluster.closed = False

    def launch(self, *_: object) -> None:
        pytest.fail("a worker is asked for")

    def close(self) -> None:
        FakeCluster.closed = True


@pytest.mark.usefixtures("lock_folder")
def test_a_taken_health_port_ends_the_driver_and_its_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_initialise_group", lambda *_: None)
    monkeypatch.setattr(stream, "Cluster", FakeCluster)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoints = EndpointsPolicy(health_port=taken.getsockname()[1])
        settings = named("g", "i").model_copy(update={"endpoints": endpoints})
        with pytest.raises(Halt, match=r"endpoints\.health_port"):
            stream.run_stream(settings, None)
    assert FakeCluster.closed
