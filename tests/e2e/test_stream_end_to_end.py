"""The main job through the command line: real Kafka, real S3, two Ray workers, one of them killed.

A ViT-B/32 of two layers a tower with seeded random weights: scores are compared with transformers',
which `tests/component/test_clip_equality.py` does with all twelve.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from kafka import KafkaConsumer, TopicPartition
from PIL import Image, ImageOps
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.kafka.recorded.label_sets import read_label_sets
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.s3.admin import S3Admin
from pipeline.events.published import ClassificationEvent, EmbeddingEvent, as_text
from pipeline.records import OutputTopic
from tests.rigs.root import ROOT
from tests.rigs.stages.clip_checkpoints import write_full_size_checkpoint
from workers.commands.explaining import run_explain
from workers.demo.account import entry_of
from workers.demo.messages import DemoMessage, StoredObject, messages, oddities
from workers.demo.odd_images import odd_images
from workers.embedded.processes import command_environment
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings, load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PARTITIONS = 4
WORKERS = 2
RUN_S = 600.0
LABEL_SET = ROOT / "deploy/examples/label-sets/general-objects.yaml"
KILL_AFTER = 20
"""Outcomes visible before a worker is killed: it is in the middle of its work."""

SKIPPED = b"skip-"
"""Keys that begin so are of records with nothing to classify."""
MAX_OFF = 0.02
"""Distance of two unit vectors of one photograph."""


@dataclass
class Run:
    """What a finished run left behind."""

    settings: Settings
    sent: list[DemoMessage]
    outcomes: list[PublishedOutcome]
    log: str
    exit_code: int
    photos: dict[str, bytes]
    model: Path


def of_topic(run: Run, topic: OutputTopic) -> list[PublishedOutcome]:
    return [outcome for outcome in run.outcomes if outcome.topic is topic]


@pytest.fixture(scope="module")
def run(
    kafka_bootstrap: str,
    s3_server: S3Server,
    photos: list[tuple[str, bytes]],
    test_data: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    folder = tmp_path_factory.mktemp("e2e")
    model = folder / "model"
    model.mkdir()
    write_full_size_checkpoint(model, layers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        file = write_settings(folder, kafka_bootstrap, s3_server, model)
        settings = load_settings(file, environment={})
        with KafkaAdmin(settings.kafka) as admin:
            admin.create_topics(sound_topics(settings.kafka), PARTITIONS, -1)
        objects = put_objects(settings, photos, test_data)
        sent = [*messages(objects), *oddities("photos")]
        with ReferenceProducer(settings.kafka, settings.kafka.input_topics[0]) as producer:
            for message in sent:
                producer.send(message.key, message.value, message.headers)
            producer.flush()
        exit_code, log, outcomes = stream_with_a_kill(settings, file, folder)
    return Run(settings, sent, outcomes, log, exit_code, dict(photos), model)


def write_settings(folder: Path, bootstrap: str, s3: S3Server, model: Path) -> Path:
    settings = {
        "kafka": {
            "bootstrap_servers": [bootstrap],
            "group": "e2e",
            "instance": "e2e",
            "input_topics": ["e2e.references"],
            "output_topics": {
                "classifications": "e2e.classifications",
                "embeddings": "e2e.embeddings",
                "dead_letters": "e2e.dead-letters",
            },
        },
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": ["photos"]},
        "model": {"directory": str(model), "device": "cpu", "precision": "fp32", "threads": 1},
        "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": str(folder / "texts")},
        "decode": {"processes": 1},
        "batch": {"max_size": 8},
        "workers": {"count": WORKERS},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "log": {"format": "json"},
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def put_objects(
    settings: Settings, photos: Sequence[tuple[str, bytes]], test_data: Path | None
) -> list[StoredObject]:
    """Photographs, then whatever odd files there are."""
    admin = S3Admin(settings.s3)
    admin.create_bucket("photos")
    if test_data is not None:
        files = sorted((test_data / "odd-images").iterdir())
        odd = [(f"odd/{path.name}", path.read_bytes()) for path in files]
    else:
        odd = [(image.key, image.body) for image in odd_images(1)]
    stored = []
    for key, body in [*photos, *odd]:
        written = admin.put("photos", key, body)
        stored.append(StoredObject("photos", key, written.etag or "", len(body)))
    admin.close()
    return stored


def stream_with_a_kill(
    settings: Settings, file: Path, folder: Path
) -> tuple[int, str, list[PublishedOutcome]]:
    """Run the command; kill a worker once it is in the middle of its work; read what is visible."""
    log = folder / "stream.log"
    command = [sys.executable, "-m", "workers.cli", "stream", "-c", str(file)]
    outcomes: list[PublishedOutcome] = []
    killed = False
    deadline = time.monotonic() + RUN_S
    with log.open("wb") as sink, OutcomeReader(settings.kafka) as reader:
        process = subprocess.Popen(
            [*command, "--until-idle", "4"],
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            env=command_environment(),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                outcomes.extend(reader.poll(0.2))
                if not killed and len(outcomes) >= KILL_AFTER:
                    os.kill(worker_pid(log.read_text()), signal.SIGKILL)
                    killed = True
                assert time.monotonic() < deadline, log.read_text()[-5000:]
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
        outcomes.extend(reader.rest())
    assert killed, log.read_text()[-5000:]
    return process.returncode, log.read_text(), outcomes


def worker_pid(log: str) -> int:
    """Process of the worker that started last."""
    found = re.findall(r"worker \d+ starts, process (\d+)", log)
    return int(found[-1])


def test_the_run_ends_by_itself_although_a_worker_was_killed(run: Run) -> None:
    assert run.exit_code == 0, run.log[-5000:]
    starts = re.findall(r"worker (\d+) starts, process \d+", run.log)
    assert len(starts) == WORKERS + 1


def test_every_reference_has_exactly_one_outcome(run: Run) -> None:
    decided = [
        *of_topic(run, OutputTopic.CLASSIFICATIONS),
        *of_topic(run, OutputTopic.DEAD_LETTERS),
    ]
    assert max(Counter(map(entry_of, decided)).values()) == 1
    # What was sent says how many there must be of each record, not our own reading of it.
    due = {m.key: m.entries for m in run.sent if not m.key.startswith(SKIPPED)}
    assert Counter(outcome.key for outcome in decided) == due
    assert len(due) + 3 == len({message.key for message in run.sent}) == len(run.sent)


def test_event_ids_are_unique_and_each_classification_has_its_embedding(run: Run) -> None:
    ids = Counter(outcome.headers["ce_id"] for outcome in run.outcomes)
    assert max(ids.values()) == 1
    siblings = {o.headers["classification.id"] for o in of_topic(run, OutputTopic.EMBEDDINGS)}
    assert siblings == {o.headers["ce_id"] for o in of_topic(run, OutputTopic.CLASSIFICATIONS)}


def test_everything_is_committed(run: Run) -> None:
    topic = run.settings.kafka.input_topics[0]
    servers = list(run.settings.kafka.bootstrap_servers)
    consumer = connect(KafkaConsumer, {"bootstrap_servers": servers, "group_id": "e2e"})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    ends = consumer.end_offsets(partitions)
    committed = {tp: consumer.committed(tp) for tp in partitions}
    consumer.close()
    assert committed == ends


def test_every_photograph_is_classified(run: Run) -> None:
    classified = {
        json.loads(o.value)["reference"]["key"] for o in of_topic(run, OutputTopic.CLASSIFICATIONS)
    }
    assert run.photos.keys() <= classified


def test_what_names_no_readable_object_is_dead_lettered_with_its_code(run: Run) -> None:
    codes = Counter(o.headers["dlq.code"].decode() for o in of_topic(run, OutputTopic.DEAD_LETTERS))
    assert codes["reference.not_json"] == 1
    assert codes["reference.unknown_format"] == 1
    assert codes["reference.unknown_label_set"] == 1
    assert codes["fetch.bucket_not_allowed"] == 1
    assert codes["fetch.not_found"] >= 1
    assert "decode.crashed" not in codes
    assert "internal.unexpected" not in codes


@pytest.fixture(scope="module")
def clip(run: Run) -> CLIPModel:
    return CLIPModel.from_pretrained(run.model)


def test_embeddings_equal_a_direct_transformers_computation(run: Run, clip: CLIPModel) -> None:
    embeddings = published_embeddings(run)
    keys = sorted(run.photos)
    processor = CLIPImageProcessorPil.from_pretrained(run.model)
    images = [
        ImageOps.exif_transpose(Image.open(io.BytesIO(run.photos[key]))).convert("RGB")
        for key in keys
    ]
    with torch.inference_mode():
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        direct = unit(features(clip.get_image_features(pixel_values=pixels)))
    published = np.stack([embeddings[key] for key in keys])
    off = np.linalg.norm(published - direct, axis=1)
    # The decoder may differ from transformers' by 1 of 255 in a pixel.
    assert off.max() < MAX_OFF
    # Each is nearest to its own photograph, by far: the comparison could not miss a mistaken one.
    distances = np.linalg.norm(published[:, np.newaxis] - direct[np.newaxis], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert off.max() < distances.min() / 4


def test_scores_follow_from_the_published_embedding(run: Run, clip: CLIPModel) -> None:
    embeddings = published_embeddings(run)
    (label_set,) = load_label_sets([LABEL_SET])
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    with torch.inference_mode():
        labels = np.stack(
            [unit(text_mean(clip, tokenizer, label.prompts)) for label in label_set.labels]
        )
        scale = float(clip.logit_scale.exp())
    spread = []
    for key, event in classifications(run).items():
        logits = scale * labels @ embeddings[key].astype(np.float64)
        exponentials = np.exp(logits - logits.max())
        (result,) = event["results"]
        scores = {each["label"]: each["score"] for each in result["scores"]}
        published = np.array([scores[label.name] for label in label_set.labels])
        np.testing.assert_allclose(published, exponentials / exponentials.sum(), atol=1e-5)
        spread.append(published)
    # Scores that hardly differ from image to image would agree with anything.
    assert np.ptp(np.stack(spread), axis=0).max() > 100 * 1e-5


def test_the_label_set_is_recorded_and_explains_every_event(run: Run) -> None:
    """By what is on the topics alone: no file of a label set is read, and no model is loaded."""
    topic = run.settings.kafka.output_topics.label_sets
    assert topic is not None
    (label_set,) = load_label_sets([LABEL_SET])
    value = read_label_sets(run.settings.kafka, topic)[label_set.version]
    assert value["text"] == LABEL_SET.read_text(encoding="utf-8")
    nowhere = run.settings.model.model_copy(update={"directory": Path("/nowhere")})
    label_sets = run.settings.label_sets.model_copy(update={"paths": ()})
    settings = run.settings.model_copy(update={"model": nowhere, "label_sets": label_sets})
    vectors = {
        each.headers["classification.id"]: each for each in of_topic(run, OutputTopic.EMBEDDINGS)
    }
    for outcome in of_topic(run, OutputTopic.CLASSIFICATIONS)[:20]:
        vector = vectors[outcome.headers["ce_id"]]
        explained = run_explain(
            settings,
            ClassificationEvent.of(json.loads(outcome.value), text_of(outcome)),
            EmbeddingEvent.of(vector.value, text_of(vector)),
            [],
        )
        assert explained.differences == ()
        assert len(explained.explanations) == 1


def text_of(outcome: PublishedOutcome) -> dict[str, str]:
    return as_text(tuple(outcome.headers.items()))


def classifications(run: Run) -> dict[str, dict[str, Any]]:
    """Events by their object's key; one key's are of one object."""
    events = [json.loads(o.value) for o in of_topic(run, OutputTopic.CLASSIFICATIONS)]
    return {event["reference"]["key"]: event for event in events}


def published_embeddings(run: Run) -> dict[str, np.ndarray]:
    keys = {
        o.headers["ce_id"]: json.loads(o.value)["reference"]["key"]
        for o in of_topic(run, OutputTopic.CLASSIFICATIONS)
    }
    return {
        keys[o.headers["classification.id"]]: np.frombuffer(o.value, "<f4")
        for o in of_topic(run, OutputTopic.EMBEDDINGS)
    }


def features(output: object) -> np.ndarray:
    tensor = output if isinstance(output, torch.Tensor) else output.pooler_output  # type: ignore[attr-defined]
    return np.asarray(tensor.double().numpy())


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def text_mean(model: CLIPModel, tokenizer: object, prompts: Sequence[str]) -> np.ndarray:
    tokens = tokenizer(list(prompts), padding=True, return_tensors="pt")  # type: ignore[operator]
    return np.asarray(unit(features(model.get_text_features(**tokens))).mean(axis=0))


def test_the_workers_json_lines_arrive_whole_in_the_drivers_output(run: Run) -> None:
    """Ray prints them, and puts nothing before them. Lines of its own processes are text."""
    ours = [line for line in run.log.splitlines() if '"process": "' in line]
    told = [json.loads(line) for line in ours]
    assert all({"time", "level", "process", "logger", "message"} <= each.keys() for each in told)
    workers = {f"worker-{number}" for number in range(WORKERS)}
    assert workers | {"driver"} <= {each["process"] for each in told}
