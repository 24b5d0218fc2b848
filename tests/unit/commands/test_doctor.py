"""`clipstream doctor`: a failed check says what to do, and the other checks go on."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.kafka.doctor import KafkaDoctor
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.opentelemetry.policy import PACKAGES, TracingPolicy
from pipeline.adapters.s3.policy import NamedS3Policy, S3Policy
from pipeline.errors import Halt, Retry, StoreDenied
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.ports import Check, CheckResult
from tests.rigs.root import ROOT
from workers.cluster.reservation import Resources, Room, reserve
from workers.commands import doctor
from workers.commands.doctor import NewTopics
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy

NO_METADATA: Mapping[str, str] = {}
LABELS = ROOT / "deploy/examples/label-sets/moderation.yaml"


class Admin:
    """A reachable cluster where no topic may be created."""

    def __init__(self, kafka: KafkaPolicy) -> None: ...

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None: ...

    def create_topics(self, *_: object) -> tuple[str, ...]:
        raise Halt("kafka.not_authorized", "kafka: creating topics is not allowed")

    def topics(self, *_: object) -> dict[str, Any]:
        raise Retry("kafka.unavailable", "kafka: describing topics failed")


class Store:
    """A store that is out of service."""

    def __init__(self, policy: S3Policy) -> None: ...

    def check(self) -> Any:
        raise Retry("s3.unavailable", "s3: does not answer")

    def close(self) -> None: ...


class MadeUpCluster:
    """A Ray cluster that has what the test says."""

    resources = Resources((Room(4, 1),))

    def __init__(self, settings: Settings) -> None:
        self.reservation = reserve(settings, self.resources)

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(_: Settings) -> None:
        raise Halt("model.not_found", "model: no such model; check its name")

    monkeypatch.setattr(doctor, "S3Admin", Store)
    monkeypatch.setattr(doctor, "load_encoder", no_model)
    monkeypatch.setattr(doctor, "Cluster", MadeUpCluster)


def lines(
    create: NewTopics | None = None, *paths: Path, workers: int = 1, **kafka: Any
) -> list[str]:
    """What a run prints; no check passes for all."""
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        kafka=KafkaPolicy(**kafka),
        label_sets=LabelSetsPolicy(paths=paths or (LABELS,)),
        workers=WorkersPolicy(count=workers),
    )
    printed = io.StringIO()
    assert not doctor.run_doctor(settings, Console(file=printed, soft_wrap=True), create)
    return printed.getvalue().splitlines()


def test_tls_files_that_cannot_be_read_are_one_failure_and_the_other_checks_go_on() -> None:
    found = lines(security=KafkaSecurity(protocol="SSL", ca_file="/nope"))
    assert [line.split(": ")[0] for line in found] == [
        "FAIL  kafka",
        "FAIL  s3",
        "ok    label sets",
        "ok    decoder",
        "FAIL  model",
        "ok    ray",
        "3 ok, 0 warnings, 3 failed",
    ]
    assert found[0].startswith("FAIL  kafka: reach: kafka.security.ca_file: /nope cannot be read")


def test_traces_are_checked_if_they_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[-1], None)
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        kafka=KafkaPolicy(security=KafkaSecurity(protocol="SSL", ca_file="/nope")),
        tracing=TracingPolicy(enabled=True),
    )
    printed = io.StringIO()
    assert not doctor.run_doctor(settings, Console(file=printed, soft_wrap=True), None)
    (line,) = [each for each in printed.getvalue().splitlines() if "tracing" in each]
    assert line.startswith("FAIL  tracing: packages: tracing.enabled: a package is missing")


def test_each_store_is_checked_under_the_name_of_its_section() -> None:
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        stores=(NamedS3Policy(name="eu", allowed_buckets=("eu-*",)),),
        kafka=KafkaPolicy(security=KafkaSecurity(protocol="SSL", ca_file="/nope")),
        label_sets=LabelSetsPolicy(paths=(LABELS,)),
    )
    printed = io.StringIO()
    assert not doctor.run_doctor(settings, Console(file=printed, soft_wrap=True), None)
    assert [line.split(": ")[0] for line in printed.getvalue().splitlines()][1:3] == [
        "FAIL  stores[eu]",
        "FAIL  s3",
    ]


def test_a_broker_that_does_not_answer_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: KafkaPolicy) -> None:
        raise Retry("kafka.unavailable", "kafka: a:1 does not answer; check this")

    monkeypatch.setattr(doctor, "KafkaAdmin", gone)
    found = lines(NewTopics(1, 1))
    assert found[0] == "FAIL  kafka: reach: kafka: a:1 does not answer; check this"
    assert len(found) == 7


def test_topics_that_cannot_be_created_do_not_end_the_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "KafkaAdmin", Admin)
    found = lines(NewTopics(1, 1))
    assert found[:3] == [
        "ok    kafka: connection: localhost:9092 answers",
        "FAIL  kafka: create topics: kafka: creating topics is not allowed",
        "FAIL  kafka: reach: kafka: describing topics failed",
    ]
    assert len(found) == 9


@pytest.mark.parametrize(
    ("workers", "compared"),
    [({"count": 5}, 5), ({"count": 1, "max_count": 16}, 16), ({}, 1)],
)
def test_partitions_are_compared_with_the_most_workers_that_may_run(
    workers: dict[str, int], compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Checks:
        def __init__(self, *arguments: object) -> None:
            seen.append(arguments[4])

        def check(self) -> tuple[()]:
            return ()

    monkeypatch.setattr(doctor, "KafkaAdmin", Admin)
    monkeypatch.setattr(doctor, "KafkaDoctor", Checks)
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)), workers=WorkersPolicy.model_validate(workers)
    )
    list(doctor._kafka(settings, None))
    assert seen == [compared]


@pytest.mark.parametrize(("workers", "idle"), [(5, None), (6, "1 will idle")])
def test_partitions_of_all_input_topics_are_shared_out_together(
    workers: int, idle: str | None
) -> None:
    kafka = KafkaPolicy(input_topics=("photos", "scans"))
    member = Member("p", "g", "host", 0)
    checks = KafkaDoctor(Admin(kafka), kafka, DeliveryPolicy(), member, workers)  # type: ignore[arg-type]
    topics: dict[str, Any] = {"photos": {"partitions": [{}] * 2}, "scans": {"partitions": [{}] * 3}}
    messages = [check.message for check in checks._shared_out(topics)]
    assert len(messages) == (idle is not None)
    assert all(idle in message for message in messages if idle)


def test_label_sets_are_checked_where_the_model_cannot_be_loaded(tmp_path: Path) -> None:
    missing = tmp_path / "gone.yaml", tmp_path / "lost.yaml"
    found = lines(None, *missing, security=KafkaSecurity(protocol="SSL", ca_file="/nope"))
    assert found[2:6] == [
        *(
            f"FAIL  label sets: load: {path}: cannot be read (No such file or directory); check "
            "the path"
            for path in missing
        ),
        "ok    decoder: start: decodes JPEG, PNG, WEBP, GIF, BMP, AVIF",
        "FAIL  model: load: model: no such model; check its name",
    ]


def test_what_each_worker_gets_of_the_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "KafkaAdmin", Admin)
    told = "each of 1 on 1 GPU and 4 CPUs (auto: the cluster has 1 GPU)"
    assert f"ok    ray: workers: {told}" in lines()
    monkeypatch.setattr(MadeUpCluster, "resources", Resources((Room(4),)))
    (warned,) = (line for line in lines() if "ray" in line)
    assert warned.startswith("warn  ray: workers: workers.gpus_per_worker: auto found no GPU")


def test_workers_that_would_wait_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "KafkaAdmin", Admin)
    assert "room for 1 such workers and workers.count is 3" in lines(workers=3)[-2]


def test_a_format_whose_library_is_missing_fails_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def start(_: SandboxedDecoder) -> None:
        raise Halt("decode.unavailable", "decode.formats: HEIF needs a library; install it")

    monkeypatch.setattr(SandboxedDecoder, "start", start)
    found = lines(security=KafkaSecurity(protocol="SSL", ca_file="/nope"))
    assert "FAIL  decoder: start: decode.formats: HEIF needs a library; install it" in found


class Cluster(Admin):
    """Creates topics, with as many replicas as its default says where nothing else is asked."""

    default_replication = 3

    def __init__(self, kafka: KafkaPolicy) -> None:
        self.settings: dict[str, dict[str, str]] = {}
        self._replicas = 0

    def create_topics(self, *arguments: Any) -> tuple[str, ...]:
        topics, _, replication = arguments
        self.settings = {name: dict(configs) for name, configs in topics.items()}
        self._replicas = self.default_replication if replication < 0 else replication
        return tuple(topics)

    def replication(self, names: Any) -> dict[str, int]:
        return dict.fromkeys(names, self._replicas)

    def configure_topics(self, topics: dict[str, dict[str, str]]) -> None:
        for name, configs in topics.items():
            self.settings[name] |= configs


@pytest.mark.parametrize(
    ("asked", "default", "in_sync"),
    [(3, 1, "2"), (-1, 3, "2"), (-1, 5, "2"), (-1, 1, None), (-1, 2, None), (1, 3, None)],
)
def test_created_topics_of_three_replicas_need_two_in_sync_whoever_chose_the_number(
    monkeypatch: pytest.MonkeyPatch, asked: int, default: int, in_sync: str | None
) -> None:
    clusters: list[Cluster] = []

    def cluster(kafka: KafkaPolicy) -> Cluster:
        clusters.append(Cluster(kafka))
        clusters[0].default_replication = default
        return clusters[0]

    monkeypatch.setattr(doctor, "KafkaAdmin", cluster)
    lines(NewTopics(1, asked))
    (found,) = clusters
    assert len(found.settings) == 5
    for settings in found.settings.values():
        assert settings.get("min.insync.replicas") == in_sync
        assert settings["unclean.leader.election.enable"] == "false"


def test_the_nodes_of_a_cluster_are_checked_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check("host-b (bbbbbbbb): credentials", CheckResult.FAILED, "s3: no credentials")
    monkeypatch.setattr(doctor, "KafkaAdmin", Admin)
    monkeypatch.setattr(doctor, "survey", lambda _: iter([check]))
    assert not any("nodes: " in line for line in lines())
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)), label_sets=LabelSetsPolicy(paths=(LABELS,))
    )
    printed = io.StringIO()
    console = Console(file=printed, soft_wrap=True)
    assert not doctor.run_doctor(settings, console, None, nodes=True)
    assert "FAIL  nodes: host-b (bbbbbbbb): credentials: s3: no credentials" in printed.getvalue()


class Unconditional(MemoryFolder):
    """A store that ignores conditions."""

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        self.write(name, body, metadata)
        return True


class Refusing(MemoryFolder):
    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        raise StoreDenied("output.forbidden", "output s3://derived/: 403; grant s3:PutObject")


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        (MemoryFolder(), "ok    output: write: s3://derived/2024: its store keeps conditions"),
        (
            Unconditional(),
            "warn  output: write: s3://derived/2024: its store ignores the conditions of: create",
        ),
        (Refusing(), "FAIL  output: write: output s3://derived/: 403; grant s3:PutObject"),
    ],
    ids=["kept", "ignored", "refused"],
)
def test_an_output_of_backfills_is_tried(
    folder: MemoryFolder, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "open_output", lambda *_: folder)
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        kafka=KafkaPolicy(security=KafkaSecurity(protocol="SSL", ca_file="/nope")),
        label_sets=LabelSetsPolicy(paths=(LABELS,)),
    )
    printed = io.StringIO()
    console = Console(file=printed, soft_wrap=True)
    doctor.run_doctor(settings, console, None, output="s3://derived/2024/")
    assert any(line.startswith(told) for line in printed.getvalue().splitlines())
    assert list(folder.names()) == []


def test_programs_get_each_check_as_json_and_no_other_line() -> None:
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        kafka=KafkaPolicy(security=KafkaSecurity(protocol="SSL", ca_file="/nope")),
        label_sets=LabelSetsPolicy(paths=(LABELS,)),
    )
    printed = io.StringIO()
    # Narrow: a line must not be broken where a terminal would end.
    console = Console(file=printed, soft_wrap=True, width=40)
    assert not doctor.run_doctor(settings, console, None, as_json=True)
    rows = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert [(row["area"], row["result"]) for row in rows] == [
        ("kafka", "failed"),
        ("s3", "failed"),
        ("label sets", "passed"),
        ("decoder", "passed"),
        ("model", "failed"),
        ("ray", "passed"),
    ]
    assert rows[0]["subject"] == "reach"
    assert rows[0]["message"].startswith("kafka.security.ca_file: /nope cannot be read")
