"""`clipstream verify` on a real Kafka and a real S3: an object goes the whole way, failures say
where it stopped, and nothing is left behind."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt, Retry
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.ports import Encoder
from pipeline.routes import RoutePolicy
from tests.rigs.root import ROOT
from workers.commands.serving.sample import sample_png
from workers.commands.verify import run as verifying
from workers.commands.verify.run import BUNDLED, Request, run_verify
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

LABELS = ROOT / "deploy/examples/label-sets/general-objects.yaml"
PREFIX = "verify-test"


@dataclass
class Scene:
    """A deployment's settings, its bucket, and what the command printed."""

    settings: Settings
    admin: S3Admin
    bucket: str
    lines: list[str] = field(default_factory=list)

    def verify(
        self, key: str, upload: str | None = None, timeout_s: float = 60.0, **changes: object
    ) -> bool:
        request = Request(f"s3://{self.bucket}/{key}", upload, PREFIX, timeout_s)
        settings = self.settings.model_copy(update=changes)
        return run_verify(settings, request, self.lines.append, model)

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Mark and name of each step."""
        words = [line.split() for line in self.lines[:-1]]
        return [(line[0], line[3].rstrip(":")) for line in words]

    def told(self, step: str) -> str:
        (line,) = (line for line in self.lines if f"s  {step}: " in line)
        return line.partition(f"s  {step}: ")[2]

    def keys(self) -> list[str]:
        return [each.key for each in self.admin.list_objects(self.bucket, "")]

    def left(self) -> tuple[list[str], list[str]]:
        """Topics and groups of the command that are still there."""
        with KafkaAdmin(self.settings.kafka) as admin:
            topics = [each for each in admin.client.list_topics() if each.startswith(PREFIX)]
            groups = [each["group_id"] for each in admin.client.list_groups()]
        return topics, [each for each in groups if each.startswith(PREFIX)]


def model(settings: Settings) -> Encoder:
    assert settings.model.device == "auto", "it must run where no GPU is"
    return MemoryEncoder()


@pytest.fixture
def scene(
    kafka_bootstrap: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    bucket = f"b{uuid.uuid4().hex[:12]}"
    store = S3Policy(
        endpoint=s3_server.endpoint, region=s3_server.region, allowed_buckets=(bucket,)
    )
    settings = Settings(
        kafka=KafkaPolicy(bootstrap_servers=(kafka_bootstrap,), input_topics=("uploads",)),
        s3=store,
        label_sets=LabelSetsPolicy(paths=(LABELS,)),
    )
    with contextlib.closing(S3Admin(store)) as admin:
        admin.create_bucket(bucket)
        yield Scene(settings, admin, bucket)


DONE = [("ok", "topics"), ("ok", "reference"), ("ok", "worker"), ("ok", "outcome")]


def test_an_object_goes_the_whole_way_and_nothing_is_left(scene: Scene) -> None:
    scene.admin.put(scene.bucket, "a photo.png", sample_png())
    # Each route is of some topic; the first one that is of the stream's decides.
    routes = (
        RoutePolicy(topic="other-*", skip=True),
        RoutePolicy(topic="uploads", label_sets=("general-objects",)),
    )
    assert scene.verify("a photo.png", routes=routes), scene.lines
    assert scene.steps == [*DONE, ("ok", "clean-up")]
    assert "general-objects: " in scene.told("outcome")
    assert " by memory on memory in fp32" in scene.told("outcome")
    assert scene.lines[-1].startswith(f"passed: s3://{scene.bucket}/a photo.png was classified in ")
    assert scene.left() == ([], [])
    assert scene.keys() == ["a photo.png"]


def test_an_image_that_is_uploaded_is_deleted_again(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    file.write_bytes(sample_png())
    for upload in (BUNDLED, str(file)):
        scene.lines.clear()
        assert scene.verify("clipstream/verify.png", upload), scene.lines
        assert scene.steps == [("ok", "upload"), *DONE, ("ok", "clean-up"), ("ok", "delete")]
        assert scene.keys() == []
    assert scene.left() == ([], [])


def test_an_object_that_is_there_is_not_overwritten(scene: Scene) -> None:
    scene.admin.put(scene.bucket, "theirs.png", b"theirs")
    assert not scene.verify("theirs.png", BUNDLED)
    assert scene.steps == [("FAIL", "upload")]
    assert "verify.exists" in scene.told("upload")
    assert scene.keys() == ["theirs.png"]
    assert scene.left() == ([], [])


def test_a_dead_letter_is_told_with_its_code_and_its_remedy(scene: Scene) -> None:
    scene.admin.put(scene.bucket, "other.png", b"not asked for")
    assert not scene.verify("gone.png")
    assert scene.steps == [*DONE[:3], ("FAIL", "outcome"), ("ok", "clean-up")]
    assert scene.told("outcome").startswith("fetch.not_found: ")
    assert "; " in scene.told("outcome")
    assert scene.lines[-1].startswith("failed: outcome, after ")
    assert scene.left() == ([], [])


def test_an_image_that_is_none_is_told_and_still_deleted(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no image")
    assert not scene.verify("notes.png", str(file))
    assert "decode." in scene.told("outcome")
    assert scene.keys() == []
    assert scene.left() == ([], [])


def test_a_record_that_a_route_skips_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "SKIPPED_S", 0.5)
    scene.admin.put(scene.bucket, "a.png", sample_png())
    assert not scene.verify("a.png", routes=(RoutePolicy(skip=True),))
    assert "`skip: true`" in scene.told("outcome")
    assert scene.left() == ([], [])


def test_an_outcome_that_is_read_late_is_no_skipped_record(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_yet(reader: OutcomeReader, timeout_s: float) -> Iterator[PublishedOutcome]:
        time.sleep(timeout_s)
        return iter(())

    monkeypatch.setattr(verifying, "SKIPPED_S", 0.5)
    monkeypatch.setattr(OutcomeReader, "poll", nothing_yet)
    scene.admin.put(scene.bucket, "a.png", sample_png())
    assert scene.verify("a.png"), scene.lines


@pytest.mark.parametrize("method", ["__init__", "poll"])
def test_a_broker_that_is_away_for_a_moment_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    real = getattr(OutcomeReader, method)
    times: list[int] = []

    def away_at_first(reader: OutcomeReader, *arguments: Any) -> Any:
        times.append(1)
        if len(times) <= 3:
            raise Retry("kafka.unavailable", "kafka: no broker")
        return real(reader, *arguments)

    monkeypatch.setattr(OutcomeReader, method, away_at_first)
    scene.admin.put(scene.bucket, "a.png", sample_png())
    assert scene.verify("a.png"), scene.lines
    assert len(times) > 3


def test_brokers_that_stay_away_end_in_the_time_that_was_given(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(reader: OutcomeReader, timeout_s: float) -> Iterator[PublishedOutcome]:
        raise Retry("kafka.unavailable", "kafka: no broker")

    monkeypatch.setattr(OutcomeReader, "poll", away)
    assert not scene.verify("a.png", timeout_s=1.0)
    assert scene.told("outcome") == "kafka.unavailable: kafka: no broker"


def test_a_store_that_does_not_serve_ends_in_the_time_that_was_given(scene: Scene) -> None:
    """The worker waits for the store as long as it takes; the command does not."""
    away = scene.settings.s3.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    assert not scene.verify("a.png", timeout_s=5.0, s3=away)
    assert scene.told("outcome").startswith("none within 5 s: ")
    assert scene.left() == ([], [])


def test_a_model_that_cannot_be_loaded_is_told_and_the_topics_are_removed(scene: Scene) -> None:
    def broken(settings: Settings) -> Encoder:
        raise Halt("model.not_found", "model: no such directory")

    request = Request(f"s3://{scene.bucket}/a.png", None, PREFIX, 60.0)
    assert not run_verify(scene.settings, request, scene.lines.append, broken)
    assert scene.steps == [*DONE[:2], ("FAIL", "worker"), ("ok", "clean-up")]
    assert scene.told("worker") == "model.not_found: model: no such directory"
    assert scene.left() == ([], [])


# kafka-python's own, of connections that were refused.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_kafka_that_is_away_is_told_twice(scene: Scene) -> None:
    """Nothing can be removed either, and the command says so."""
    away = scene.settings.kafka.model_copy(update={"bootstrap_servers": ("127.0.0.1:1",)})
    assert not scene.verify("a.png", kafka=away)
    assert scene.steps == [("FAIL", "topics"), ("FAIL", "clean-up")]
    assert "kafka.unavailable" in scene.told("topics")
    assert scene.lines[-1].startswith("failed: topics, after ")


@pytest.mark.parametrize(
    ("uri", "upload", "prefix", "says"),
    [
        ("s3://elsewhere/a.png", None, PREFIX, "allow it first"),
        ("https://example.com/a.png", None, PREFIX, "write s3://BUCKET/KEY"),
        ("a.png", None, PREFIX, "verify: a.png: "),
        ("s3://BUCKET/a.png", "/nope.png", PREFIX, "/nope.png cannot be read"),
        ("s3://BUCKET/a.png", None, "a b", "--topic-prefix: 'a b."),
    ],
)
def test_what_is_wrong_from_the_start_is_told_before_anything_is_contacted(
    uri: str, upload: str | None, prefix: str, says: str, scene: Scene
) -> None:
    away = scene.settings.kafka.model_copy(update={"bootstrap_servers": ("127.0.0.1:1",)})
    settings = scene.settings.model_copy(update={"kafka": away})
    request = Request(uri.replace("BUCKET", scene.bucket), upload, prefix, 60.0)
    with pytest.raises(Halt) as caught:
        run_verify(settings, request, scene.lines.append, model)
    assert caught.value.code == "verify.invalid"
    assert says in caught.value.message
    assert scene.lines == []
