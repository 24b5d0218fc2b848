"""`clipstream stream`: what the driver refuses before it contacts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.adapters.s3_policy import S3Policy
from pipeline.errors import Halt
from pipeline.labels import LabelSetsPolicy
from pipeline.routes import RoutePolicy
from workers.commands import stream
from workers.reference import ROOT
from workers.settings import Settings
from workers.wiring import load_routes

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


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        (settings_of(), "label_set.none", "no label set is configured"),
        (settings_of(Path("/nope.yaml")), "label_set.invalid", "/nope.yaml: cannot be read"),
        (settings_of(LABELS, route="gone"), "settings.invalid", "label set 'gone' is not loaded"),
    ],
)
def test_wrong_label_sets_and_routes_end_the_driver_before_kafka_and_ray(
    settings: Settings, code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KafkaAdmin", None)
    monkeypatch.setattr(stream, "Cluster", None)
    with pytest.raises(Halt, match=says) as caught:
        stream.run_stream(settings, None)
    assert caught.value.code == code
