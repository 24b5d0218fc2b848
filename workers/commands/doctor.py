"""`clipstream doctor`: checks that everything a worker needs is there, and safe."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from pipeline.adapters.https.doctor import check_hosts
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.backfill.topics import (
    check_marks,
    create_marks,
    publishing_to,
    sound_backfill_topics,
)
from pipeline.adapters.kafka.doctor import SAFE_MIN_ISR, SAFE_REPLICATION, KafkaDoctor, sound_topics
from pipeline.adapters.opentelemetry.policy import require_tracing
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.backfill.conditions import probe
from pipeline.errors import Halt, PipelineError
from pipeline.ports import Check, CheckResult
from workers.backfill.output import Output, open_output
from workers.cluster.actors import Cluster
from workers.cluster.node_survey import survey
from workers.cluster.reservation import places
from workers.known import load_lists
from workers.label_sets import load_routes, load_rules
from workers.node_checks import failed, try_decoder
from workers.settings.loading import Settings
from workers.stages import load_encoder
from workers.stream.wiring import member_of

MARKS = {
    CheckResult.PASSED: ("ok  ", "green"),
    CheckResult.WARNING: ("warn", "yellow"),
    CheckResult.FAILED: ("FAIL", "bold red"),
}


class NewTopics(NamedTuple):
    """How missing topics are created. -1 replicas stands for the broker's default."""

    partitions: int
    replication: int


def run_doctor(
    settings: Settings,
    console: Console,
    create: NewTopics | None,
    *,
    nodes: bool = False,
    backfill_topics: bool = False,
    output: str | None = None,
    as_json: bool = False,
) -> bool:
    """Print every check as it is made; with ``nodes``, also those of every node of the cluster,
    with ``backfill_topics``, also those of the topics that backfills are published to, and with
    ``output``, that of a place where backfills write. ``as_json``: for programs, each check is a
    JSON object. Returns whether none failed."""
    counts = dict.fromkeys(CheckResult, 0)
    areas = [
        ("kafka", "reach", _kafka(settings, create)),
        *((store.section, "reach", _s3(store)) for store in settings.s3_stores),
        ("https", "trust", check_hosts(settings.https)),
        ("label sets", "load", _label_sets(settings)),
        ("decoder", "start", _decoder(settings)),
        ("model", "load", _model(settings)),
        ("ray", "start", _ray(settings)),
    ]
    if backfill_topics:
        areas.insert(1, ("backfill", "reach", _backfill_topics(settings, create)))
    if output is not None:
        areas.append(("output", "write", _output(settings, output)))
    if settings.known.lists:
        areas.append(("known lists", "load", _known_lists(settings)))
    if settings.tracing.enabled:
        areas.append(("tracing", "packages", _tracing(settings)))
    if nodes:
        areas.append(("nodes", "join", survey(settings)))
    for area, subject, checks in areas:
        for check in _guarded(subject, checks):
            (_print_json if as_json else _print)(console, area, check)
            counts[check.result] += 1
    if as_json:
        return counts[CheckResult.FAILED] == 0
    console.print(
        f"{counts[CheckResult.PASSED]} ok, {counts[CheckResult.WARNING]} warnings, "
        f"{counts[CheckResult.FAILED]} failed"
    )
    return counts[CheckResult.FAILED] == 0


def _guarded(subject: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks up to an error that ends them, then a failed check for each line of the error."""
    try:
        yield from checks
    except PipelineError as error:
        yield from failed(subject, error)


def _print(console: Console, area: str, check: Check) -> None:
    mark, style = MARKS[check.result]
    console.print(Text.assemble((mark, style), f"  {area}: {check.subject}: {check.message}"))


def _print_json(console: Console, area: str, check: Check) -> None:
    row = {
        "area": area,
        "subject": check.subject,
        "result": check.result.value,
        "message": check.message,
    }
    console.out(json.dumps(row, ensure_ascii=False), highlight=False)


def _kafka(settings: Settings, create: NewTopics | None) -> Iterator[Check]:
    with KafkaAdmin(settings.kafka) as admin:
        brokers = ", ".join(settings.kafka.bootstrap_servers)
        yield Check("connection", CheckResult.PASSED, f"{brokers} answers")
        if create is not None:
            sound = sound_topics(settings.kafka, _served(settings))
            yield from _guarded("create topics", _created(admin, sound, create))
        yield from KafkaDoctor(
            admin,
            settings.kafka,
            settings.delivery,
            member_of(settings, 0),
            settings.workers.most,
            _served(settings),
        ).check()


def _served(settings: Settings) -> str | None:
    """The topic of images that came over HTTP, if their outcomes are published."""
    return settings.serve.topic if settings.serve.publish == "kafka" else None


def _backfill_topics(settings: Settings, create: NewTopics | None) -> Iterator[Check]:
    """The topics of `clipstream backfill publish`."""
    topics = settings.backfill.topics
    with KafkaAdmin(settings.kafka) as admin:
        if create is not None:
            sound = sound_backfill_topics(settings.kafka, topics)
            yield from _guarded("create topics", _created(admin, sound, create))
            for name in create_marks(admin, topics, create.replication):
                yield Check("create topics", CheckResult.PASSED, f"created topic {name}")
        yield from KafkaDoctor(
            admin,
            publishing_to(settings.kafka, topics),
            settings.delivery,
            member_of(settings, 0),
            settings.workers.most,
        ).check_outputs()
        yield from check_marks(admin, topics)


def _created(
    admin: KafkaAdmin, topics: dict[str, dict[str, str]], create: NewTopics
) -> Iterator[Check]:
    """``topics`` are names with their settings."""
    durable = {"min.insync.replicas": str(SAFE_MIN_ISR)}
    if create.replication >= SAFE_REPLICATION:
        topics = {name: configs | durable for name, configs in topics.items()}
    created = admin.create_topics(topics, create.partitions, create.replication)
    for name in created:
        yield Check("create topics", CheckResult.PASSED, f"created topic {name}")
    if create.replication < 0:
        # The broker's default shows only in the created topics. With fewer replicas than are safe,
        # this setting would let one lost broker stop all writes.
        replicas = admin.replication(created) if created else {}
        safe = [name for name, count in replicas.items() if count >= SAFE_REPLICATION]
        admin.configure_topics(dict.fromkeys(safe, durable))


def _s3(store: S3Policy) -> Iterator[Check]:
    admin = S3Admin(store)
    try:
        yield from admin.check()
    finally:
        admin.close()


def _output(settings: Settings, uri: str) -> Iterator[Check]:
    """Writes, reads, lists and deletes an object, and tries conditional writes."""
    output = Output.of(uri)
    with contextlib.closing(open_output(settings, output)) as folder:
        conditions = probe(folder)
        next(folder.names(), None)
    if conditions.kept:
        yield Check("write", CheckResult.PASSED, f"{output}: its store {conditions}")
        return
    yield Check(
        "write",
        CheckResult.WARNING,
        f"{output}: its store {conditions}; run one driver of a backfill at a time there",
    )


def _known_lists(settings: Settings) -> Iterator[Check]:
    for name, known_version in load_lists(settings).versions.items():
        yield Check("known lists", CheckResult.PASSED, f"{name}, version {known_version}")


def _label_sets(settings: Settings) -> Iterator[Check]:
    """Checks the files and the routes. Whether the model can embed the prompts is the model's
    check."""
    label_sets, _ = load_routes(settings)
    for label_set in label_sets:
        yield Check(label_set.name, CheckResult.PASSED, f"version {label_set.version}")


def _decoder(settings: Settings) -> Iterator[Check]:
    """Starts a decoder, which decodes a sample of each format in its sandbox."""
    try_decoder(settings)
    yield Check("start", CheckResult.PASSED, f"decodes {', '.join(settings.decode.formats)}")


def _model(settings: Settings) -> Iterator[Check]:
    encoder = load_encoder(settings)
    model = encoder.model
    yield Check(
        "load",
        CheckResult.PASSED,
        f"{model.name} at {model.revision[:19]} on {model.engine} in {model.precision}",
    )
    try:
        load_routes(settings)
    except Halt:
        return  # reported among the label sets
    rules = load_rules(settings, model, encoder.encode_texts)
    yield Check("label sets", CheckResult.PASSED, f"embedded: {', '.join(rules.versions)}")


def _tracing(settings: Settings) -> Iterator[Check]:
    require_tracing(settings.tracing)
    # Imported here because its packages are an optional extra.
    from pipeline.adapters.opentelemetry.exporting import check_receiver

    yield from check_receiver()


def _ray(settings: Settings) -> Iterator[Check]:
    """What the driver would decide for the cluster that it would join, or for a Ray of its own."""
    cluster = Cluster(settings)
    try:
        resources, reserved = cluster.resources, cluster.reservation
    finally:
        cluster.close()
    count = settings.workers.count
    yield Check(
        "workers",
        CheckResult.WARNING if reserved.warning else CheckResult.PASSED,
        reserved.warning or f"each of {count} on {reserved}",
    )
    room = places(resources, reserved)
    if room is not None and room < count:
        yield Check(
            "room",
            CheckResult.WARNING,
            f"the cluster has room for {room} such workers and workers.count is {count}: the "
            "others will wait; lower workers.count, or let workers share GPUs "
            "(workers.gpus_per_worker) or reserve fewer CPUs (workers.cpus_per_worker)",
        )
