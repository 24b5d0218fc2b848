"""Label sets on a real topic: published once before they are used, and read back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from kafka import TopicPartition
from kafka.admin import OffsetSpec
from typer.testing import CliRunner, Result

from pipeline import metrics
from pipeline.adapters.kafka.doctor import KafkaDoctor, sound_topics
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.recorded.label_sets import LabelSetRecords, read_label_sets
from pipeline.adapters.label_files import fingerprint, load_sourced
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill import layout
from pipeline.errors import Halt, Retry
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.labels.recorded import SourcedLabelSet, label_set_of
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import CheckResult
from tests.rigs.recorded import MODEL_DIRECTORY, publish, published
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.stages.backfill_job import compiled, identity_of
from workers import cli
from workers.commands.backfill.publish import record_label_sets
from workers.demo.accuracy import LABELS_FILE
from workers.label_sets import LiveRules, load_scoring
from workers.serve.wiring import serving
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

PETS = """\
# The comment is part of the record.
name: pets
decision: exclusive
actions: [block, allow]
default_action: allow
unclassified_action: block
act_action: block
templates: ["a photo of {}"]
labels:
  - {name: dog, phrases: [a dog], act_threshold: 0.7}
  - {name: neither, prompts: [a photo], neutral: true}
"""
AT_S = 1_767_225_600.0


class Scene:
    """A deployment with a topic of label sets, and one file with a label set."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.topic = f"{deployment.kafka.group}.label-sets"
        self.kafka = with_topic(deployment.kafka, self.topic)
        self.file = folder / "pets.yaml"
        self.file.write_text(PETS)
        self.settings = folder / "settings.yaml"

    def create(self) -> None:
        sound = sound_topics(self.kafka)
        self.deployment.admin.create_topics({self.topic: sound[self.topic]}, 1, 1)

    @property
    def sourced(self) -> tuple[SourcedLabelSet, ...]:
        return load_sourced([self.file])

    @property
    def version(self) -> str:
        (each,) = self.sourced
        return each.label_set.version

    def records(self) -> int:
        """Offsets of the topic: each publication has one."""
        found = self.deployment.admin.client.list_partition_offsets
        tp = TopicPartition(self.topic, 0)
        offset: int = found({tp: OffsetSpec.LATEST})[tp].offset
        return offset

    def run(self, *arguments: str) -> Result:
        self.settings.write_text(
            yaml.safe_dump(
                {
                    "model": {"directory": str(MODEL_DIRECTORY)},
                    "label_sets": {"text_cache_dir": str(self.settings.parent / "texts")},
                    "kafka": {
                        "bootstrap_servers": list(self.kafka.bootstrap_servers),
                        "output_topics": self.kafka.output_topics.model_dump(),
                    },
                }
            )
        )
        runner = CliRunner(env={"COLUMNS": "200"})
        return runner.invoke(cli.app, [*arguments, "-c", str(self.settings)])


def with_topic(kafka: KafkaPolicy, topic: str) -> KafkaPolicy:
    topics = kafka.output_topics.model_copy(update={"label_sets": topic})
    return kafka.model_copy(update={"output_topics": topics})


@pytest.fixture
def scene(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Scene]:
    with Deployment(kafka_bootstrap, start=None) as opened:
        yield Scene(opened, tmp_path)


def test_a_version_is_published_once_and_is_read_back_whole(scene: Scene) -> None:
    scene.create()
    model = MemoryEncoder().model
    for _ in range(2):  # two workers
        LabelSetRecords(scene.kafka, "0.1.0", lambda: AT_S).publish(scene.sourced, model)
    assert scene.records() == 1
    value = read_label_sets(scene.kafka, scene.topic)[scene.version]
    assert value["text"] == PETS
    assert value["first_seen"] == "2026-01-01T00:00:00.000Z"
    assert value["model"]["name"] == model.name
    assert label_set_of(value["meaning"], scene.version) == scene.sourced[0].label_set


def test_without_a_topic_label_sets_are_used_with_a_warning(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    records = LabelSetRecords(scene.kafka, "0.1.0")
    with caplog.at_level(logging.WARNING):
        records.publish(scene.sourced, MemoryEncoder().model)
    assert f"no topic {scene.topic}" in caplog.text
    assert "--create-topics" in caplog.text
    scene.create()  # it is used from the next change on
    records.publish(scene.sourced, MemoryEncoder().model)
    assert scene.records() == 1


def test_a_topic_that_is_gone_is_missed(scene: Scene) -> None:
    scene.create()
    records = LabelSetRecords(scene.kafka, "0.1.0")
    records.publish(scene.sourced, MemoryEncoder().model)
    scene.deployment.admin.remove_topics([scene.topic])
    scene.file.write_text(PETS.replace("0.7", "0.8"))
    with pytest.raises(Halt, match="is gone") as gone:
        records.publish(scene.sourced, MemoryEncoder().model)
    assert gone.value.code == "kafka.topic_missing"


def test_a_label_set_that_fits_no_record_is_not_used(scene: Scene) -> None:
    scene.create()
    kafka = scene.kafka.model_copy(update={"max_input_bytes": 900})
    with pytest.raises(Halt, match="split the label set") as halt:
        LabelSetRecords(kafka, "0.1.0").publish(scene.sourced, MemoryEncoder().model)
    assert halt.value.code == "label_set.too_large"
    assert scene.records() == 0


def test_a_change_that_cannot_be_published_is_not_used_until_it_can(scene: Scene) -> None:
    scene.create()
    encoder, meter = MemoryEncoder(), MemoryMeter(IMAGE_METRICS)
    records = LabelSetRecords(scene.kafka, "0.1.0")
    fails = [Retry("kafka.unavailable", "kafka: away")]

    def publish_or_fail(*arguments: object) -> None:
        if "0.8" in scene.file.read_text() and fails:
            raise fails.pop()
        records.publish(*arguments)  # type: ignore[arg-type]

    policy = LabelSetsPolicy(paths=(scene.file,), text_cache_dir=None)
    rules = LiveRules(
        partial(load_scoring, policy, encoder.model, encoder.encode_texts, publish_or_fail),
        partial(fingerprint, policy.paths),
        meter,
    )
    before = scene.version
    scene.file.write_text(PETS.replace("0.7", "0.8"))
    rules.look()
    rules.look()
    assert rules().versions == {"pets": before}
    assert meter.value(metrics.LABEL_SETS_REFUSED) == 1
    rules.look()
    assert rules().versions == {"pets": scene.version}
    assert meter.value(metrics.LABEL_SETS_REFUSED) == 0
    assert set(read_label_sets(scene.kafka, scene.topic)) == {before, scene.version}


def test_the_doctor_says_what_to_do(scene: Scene) -> None:
    def found(subject: str) -> tuple[CheckResult, str]:
        deployment = scene.deployment
        doctor = KafkaDoctor(
            deployment.admin, scene.kafka, deployment.delivery, deployment.member(), 1
        )
        checks = {each.subject: each for each in doctor.check()}
        return checks[subject].result, checks[subject].message

    result, message = found(f"topic {scene.topic}")
    assert result is CheckResult.WARNING
    assert "--create-topics" in message
    scene.create()
    assert found(f"topic {scene.topic}")[0] is CheckResult.PASSED
    scene.deployment.admin.configure_topics({scene.topic: {"cleanup.policy": "delete"}})
    result, message = found(f"clean-up of {scene.topic}")
    assert result is CheckResult.FAILED
    assert "set it to compact" in message


def test_labels_show_gives_the_file_back(scene: Scene) -> None:
    scene.create()
    LabelSetRecords(scene.kafka, "0.1.0", lambda: AT_S).publish(
        scene.sourced, MemoryEncoder().model
    )
    first = scene.version
    scene.file.write_text(PETS.replace("0.7", "0.8"))
    LabelSetRecords(scene.kafka, "0.1.0", lambda: AT_S + 60).publish(
        scene.sourced, MemoryEncoder().model
    )
    assert scene.run("labels", "show", first, "--text").stdout == PETS
    newest = scene.run("labels", "show", "pets", "--json")
    assert json.loads(newest.stdout)["version"] == scene.version
    short = scene.run("labels", "show", first.removeprefix("sha256:")[:12])
    assert "first seen   2026-01-01T00:00:00.000Z" in short.stdout
    assert "0.7 block" in short.stdout
    listed = scene.run("labels", "show").stdout.splitlines()
    assert [first in line for line in listed] == [True, False]
    unknown = scene.run("labels", "show", "cats")
    assert "is not recorded; recorded names: pets" in str(unknown.exception)


def test_an_event_is_explained_by_its_place_alone(scene: Scene) -> None:
    scene.create()
    scene.file.write_text(LABELS_FILE.read_text())
    LabelSetRecords(scene.kafka, "0.1.0").publish(scene.sourced, MemoryEncoder().model)
    publish(scene.kafka, published(120)[:8])
    topic = scene.kafka.output_topics.classifications
    number, offset, key, _ = scene.deployment.visible()[0]
    result = scene.run("explain", f"{topic}[{number}]@{offset}")
    assert result.exit_code == 0, result.output or result.exception
    assert f"s3://photos/{(key or b'').decode()}" in result.output
    assert "everything matches the event" in result.output
    gone = scene.run("explain", f"{topic}[{number}]@999")
    assert "there is no record" in str(gone.exception)


def test_serving_with_publication_records_its_label_sets(scene: Scene) -> None:
    scene.create()
    settings = Settings.model_validate(
        {
            "kafka": scene.kafka,
            "label_sets": {"paths": [scene.file], "text_cache_dir": None},
            "serve": {"publish": "kafka"},
            "decode": {"processes": 1},
        }
    )

    async def serve() -> None:
        async with serving(settings, MemoryEncoder(), PrometheusMeter(metrics.SERVE_REPLICA)):
            pass

    asyncio.run(serve())
    assert set(read_label_sets(scene.kafka, scene.topic)) == {scene.version}


def test_publishing_a_backfill_records_the_versions_that_its_events_name(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.create()
    folder = MemoryFolder()
    identity = identity_of(compiled()).model_copy(
        update={"label_sets": {"pets": scene.version, "gone": "sha256:gone"}}
    )
    folder.write(layout.IDENTITY, identity.as_bytes())
    settings = Settings.model_validate(
        {"kafka": scene.kafka, "label_sets": {"paths": [scene.file]}}
    )
    with caplog.at_level(logging.WARNING):
        record_label_sets(settings, folder)
    assert set(read_label_sets(scene.kafka, scene.topic)) == {scene.version}
    assert "label set gone, version sha256:gone: label_sets.paths has no file" in caplog.text
    assert "label set pets" not in caplog.text
    caplog.clear()
    scene.file.write_text(PETS.replace("0.7", "0.8"))  # edited since
    record_label_sets(settings, folder)
    assert "label set pets" in caplog.text
    assert scene.records() == 1
