"""What an operator does at the command line: doctor, enqueue, stream, look at the metrics, change
a label set, stop by a signal, start again."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from kafka import KafkaConsumer, TopicPartition
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from pipeline import metrics
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.s3.admin import S3Admin
from pipeline.metrics import STREAM_WORKER, Kind
from pipeline.records import OutputTopic
from tests.rigs.root import ROOT
from workers.demo.shapes import demo_images
from workers.embedded.processes import command_environment
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings, load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
DEMO = ROOT / "workers" / "demo"
PARTITIONS = 4
IMAGES = 40
REFERENCES = 4000
"""Far more than are classified while the test looks on."""
BEFORE_STOP = 200
SEED = 7
WAIT_S = 180.0
DRAIN_S = 40.0
"""The grace period, and the end of Ray."""


@dataclass
class Operator:
    """A deployment's settings file, and the commands of a person in front of it."""

    folder: Path
    file: Path
    labels: Path
    environment: dict[str, str]
    settings: Settings
    log: Path
    outcomes: list[PublishedOutcome] = field(default_factory=list)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*command),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    @contextlib.contextmanager
    def stream(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                self._command("stream", *options),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(DRAIN_S)

    def _command(self, name: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "workers.cli", name, *options, "--config", str(self.file)]

    def metrics(self) -> dict[str, Family]:
        """Families by name, as Prometheus finds them: by the discovery file."""
        (group,) = json.loads((self.folder / "prometheus.json").read_text())
        (target,) = group["targets"]
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {family.name: family for family in families}

    def counts(self, *names: str) -> list[float]:
        families = self.metrics()
        return [
            sum(sample.value for sample in families[metrics.PREFIX + name].samples)
            for name in names
        ]


@pytest.fixture(scope="module")
def operator(
    kafka_bootstrap: str, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operations")
    labels = folder / "labels" / "shapes.yaml"
    labels.parent.mkdir()
    labels.write_text((DEMO / "labels.yaml").read_text())
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings_of(folder, kafka_bootstrap, s3_server, labels.parent)))
    environment = command_environment() | {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "COLUMNS": "200",
    }
    settings = load_settings(file, environment={})
    # Its path must be short.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as host:
        a_cluster_was_here(Path(host))
        environment["RAY_TMPDIR"] = host
        yield Operator(folder, file, labels, environment, settings, folder / "stream.log")


def a_cluster_was_here(host: Path) -> None:
    """The address file of a Ray cluster that crashed, which the driver is not to join."""
    file = host / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("127.0.0.1:1")


def settings_of(folder: Path, bootstrap: str, s3: S3Server, labels: Path) -> dict[str, object]:
    return {
        "kafka": {
            "bootstrap_servers": [bootstrap],
            "group": "operations",
            "instance": "operations",
            "input_topics": ["operations.references"],
            "output_topics": {
                "classifications": "operations.classifications",
                "embeddings": "operations.embeddings",
                "dead_letters": "operations.dead-letters",
            },
        },
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": ["shapes"]},
        "model": {
            "directory": str(DEMO / "model"),
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
        },
        "label_sets": {
            "paths": [str(labels)],
            "text_cache_dir": str(folder / "texts"),
            "reload_interval_s": 0.5,
        },
        "decode": {"processes": 1},
        # So few in flight that the grace period suffices on a slow machine.
        "flow": {"max_in_flight": 256},
        "workers": {"count": 1, "grace_s": 20},
        "endpoints": {
            "health_port": 0,
            "metrics_port": 0,
            "discovery_file": str(folder / "prometheus.json"),
        },
        "log": {"format": "json"},
    }


def reaches(operator: Operator, reader: OutcomeReader, condition: Callable[[], bool]) -> None:
    """Read outcomes until the condition is true."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        operator.outcomes.extend(reader.poll(0.2))
        if time.monotonic() > deadline:
            pytest.fail(f"it never came true; the log ends:\n{operator.log.read_text()[-5000:]}")


def decided(operator: Operator) -> list[PublishedOutcome]:
    return [each for each in operator.outcomes if each.topic is not OutputTopic.EMBEDDINGS]


def classified(operator: Operator) -> list[PublishedOutcome]:
    return [each for each in operator.outcomes if each.topic is OutputTopic.CLASSIFICATIONS]


def versions(operator: Operator) -> set[str]:
    return {json.loads(each.value)["results"][0]["version"] for each in classified(operator)}


def test_the_life_of_a_deployment(operator: Operator) -> None:
    put_images(operator)
    verify_sends_an_image_all_the_way(operator)
    doctor_says_what_is_missing_and_creates_it(operator)
    enqueue_publishes_a_prefix_and_a_list(operator)
    with OutcomeReader(operator.settings.kafka) as reader, operator.stream() as process:
        reaches(operator, reader, lambda: len(classified(operator)) >= BEFORE_STOP)
        a_label_set_changes(operator, reader)
        # Both stand first in each partition.
        reaches(operator, reader, lambda: all(operator.counts("dead_letters", "skipped")))
        check_catalogue(operator.metrics())
        assert process.poll() is None, operator.log.read_text()[-5000:]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DRAIN_S) == 0, operator.log.read_text()[-5000:]
        operator.outcomes.extend(reader.rest())
        assert len(classified(operator)) < IMAGES + REFERENCES, "it ended before it was told to"
        # What was begun was finished, and nothing was published that is not committed.
        offsets = committed(operator)
        tombstones = sum(offset > 0 for offset in offsets)
        assert sum(offsets) == len(decided(operator)) + tombstones
        assert "abandoned" not in operator.log.read_text()

        replayed = what_was_missing_is_uploaded_and_replayed(operator)
        with operator.stream("--until-idle", "3") as again:
            reaches(operator, reader, lambda: again.poll() is not None)
        assert again.returncode == 0, operator.log.read_text()[-5000:]
        operator.outcomes.extend(reader.rest())
    assert max(Counter(each.headers["ce_id"] for each in operator.outcomes).values()) == 1
    topics = Counter(each.topic for each in operator.outcomes)
    # What was missing at first is classified in the end: by a replay, or read only then.
    assert topics[OutputTopic.CLASSIFICATIONS] == IMAGES + REFERENCES + PARTITIONS
    assert topics[OutputTopic.EMBEDDINGS] == IMAGES + REFERENCES + PARTITIONS
    types = Counter(each.headers["ce_type"] for each in operator.outcomes)
    assert types[b"clipstream.dead-letter.v1"] == replayed + 1
    assert types[b"clipstream.replay.v1"] == replayed
    assert sum("replay.of" in each.headers for each in classified(operator)) == replayed


@contextlib.contextmanager
def s3_admin(operator: Operator) -> Iterator[S3Admin]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, operator.environment[name])
        with contextlib.closing(S3Admin(operator.settings.s3)) as admin:
            yield admin


def put_images(operator: Operator) -> None:
    with s3_admin(operator) as admin:
        admin.create_bucket("shapes")
        for image in demo_images(SEED, IMAGES):
            admin.put("shapes", image.key, image.body)


def verify_sends_an_image_all_the_way(operator: Operator) -> None:
    """It needs none of the stream's topics, and leaves none of its own."""
    key = next(iter(demo_images(SEED, 1))).key
    verified = operator.run("verify", f"s3://shapes/{key}")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    *steps, last = verified.stdout.splitlines()
    assert [step.split()[3] for step in steps] == [
        "topics:",
        "reference:",
        "worker:",
        "outcome:",
        "clean-up:",
    ]
    assert last.startswith(f"passed: s3://shapes/{key} was classified in ")
    refused = operator.run("verify", "s3://elsewhere/a.png")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "verify.invalid" in refused.stderr


def doctor_says_what_is_missing_and_creates_it(operator: Operator) -> None:
    before = operator.run("doctor")
    assert before.returncode == 1, before.stdout + before.stderr
    assert "FAIL  kafka: topic operations.references: does not exist" in before.stdout
    assert "--create-topics" in before.stdout
    created = operator.run(
        "doctor", "--create-topics", "--partitions", str(PARTITIONS), "--replication", "1"
    )
    assert created.returncode == 0, created.stdout + created.stderr
    assert "created topic operations.dead-letters" in created.stdout
    assert " 0 failed" in created.stdout


def enqueue_publishes_a_prefix_and_a_list(operator: Operator) -> None:
    with ReferenceProducer(operator.settings.kafka, "operations.references") as producer:
        for partition in range(PARTITIONS):
            producer.send(b"deleted", None, partition=partition)
            gone = b'{"bucket": "shapes", "key": "gone.png"}'
            producer.send(b"gone", gone, partition=partition)
    by_prefix = operator.run("enqueue", "s3://shapes/")
    assert f"{IMAGES} references published" in by_prefix.stdout, by_prefix.stderr
    keys = [image.key for image in demo_images(SEED, IMAGES)]
    lines = [f"s3://shapes/{keys[number % IMAGES]}" for number in range(REFERENCES)]
    listed = operator.folder / "list.txt"
    listed.write_text("\n".join(["# made by the test", *lines, "s3://shapes/missing.png"]))
    by_list = operator.run("enqueue", str(listed))
    assert f"{REFERENCES + 1} references published" in by_list.stdout, by_list.stderr


def what_was_missing_is_uploaded_and_replayed(operator: Operator) -> int:
    letters = sum(each.key == b"gone" for each in decided(operator))
    assert letters
    with s3_admin(operator) as admin:
        (image,) = demo_images(SEED, 1)
        admin.put("shapes", "gone.png", image.body)
    choice = ("--code", "fetch.not_found", "--key", "gone")
    shown = operator.run("replay", *choice)
    assert f"{letters} dead letters would be replayed" in shown.stdout, shown.stderr
    done = operator.run("replay", *choice, "--publish")
    assert f"{letters} dead letters replayed" in done.stdout, done.stderr
    again = operator.run("replay", *choice, "--publish")
    assert "0 dead letters replayed" in again.stdout, again.stderr
    return letters


def a_label_set_changes(operator: Operator, reader: OutcomeReader) -> None:
    before = versions(operator)
    assert len(before) == 1
    text = operator.labels.read_text()
    operator.labels.write_text(text.replace("a black star", "a star that is black"))
    assert operator.labels.read_text() != text
    reaches(operator, reader, lambda: versions(operator) > before)


NOT_IN_THE_RUN = {
    metrics.UNSUPPORTED_FORMATS,
    metrics.TRACE_SPANS_EXPORTED,
    metrics.KNOWN_LIST_INFO,
    metrics.KNOWN_LIST_RELOADS,
    metrics.KNOWN_MATCHES,
    metrics.DRIFT_DECISIONS,
    metrics.DRIFT_EMBEDDINGS,
    metrics.DRIFT_IMAGES,
    metrics.DRIFT_SCORES,
    metrics.DRIFT_SHARES,
    metrics.DRIFT_UNFIT,
}
"""They come with a file of another format, with traces, with lists of known pictures and with a
reference of drift. The run has none of these."""


def check_catalogue(families: dict[str, Family]) -> None:
    """A run exposes every metric of a stream worker, as it is catalogued, and no other of ours."""
    kinds = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
    expected = {metric.name.removesuffix("_total"): metric for metric in STREAM_WORKER}
    ours = {name for name in families if name.startswith(metrics.PREFIX)}
    # The client adds a gauge beside each counter and histogram with the time of its creation.
    ours -= {name for name in ours if name.endswith("_created")}
    assert ours == expected.keys()
    for name, metric in expected.items():
        family = families[name]
        assert family.type == kinds[metric.kind]
        assert family.documentation == metric.help
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels), name
        if metric in NOT_IN_THE_RUN:
            assert family.samples == []
            continue
        assert family.samples, f"{name}: the run exposes no value"
    stages = {
        sample.labels["stage"] for sample in families["clipstream_stage_duration_seconds"].samples
    }
    assert stages == {"fetch", "decode", "queue", "encode", "score", "commit"}
    (model,) = families["clipstream_model_info"].samples
    assert model.labels["precision"] == "fp32"


def committed(operator: Operator) -> list[int]:
    servers = list(operator.settings.kafka.bootstrap_servers)
    with contextlib.closing(
        connect(KafkaConsumer, {"bootstrap_servers": servers, "group_id": "operations"})
    ) as consumer:
        partitions = [TopicPartition("operations.references", n) for n in range(PARTITIONS)]
        return [consumer.committed(partition) or 0 for partition in partitions]
