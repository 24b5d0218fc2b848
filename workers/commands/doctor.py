"""`clipstream doctor`: is everything there that a worker needs, and safe?"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_doctor import SAFE_MIN_ISR, SAFE_REPLICATION, KafkaDoctor, sound_topics
from pipeline.adapters.s3_admin import S3Admin
from pipeline.errors import PipelineError
from pipeline.ports import Check, CheckResult
from workers.settings import Settings
from workers.wiring import load_encoder, load_rules, member_of

MARKS = {
    CheckResult.PASSED: ("ok  ", "green"),
    CheckResult.WARNING: ("warn", "yellow"),
    CheckResult.FAILED: ("FAIL", "bold red"),
}


def run_doctor(
    settings: Settings,
    console: Console,
    *,
    create_topics: bool,
    partitions: int,
    replication: int,
) -> bool:
    """Print every check as it is made. Returns whether none failed."""
    if create_topics:
        _create_topics(settings, console, partitions, replication)
    counts = dict.fromkeys(CheckResult, 0)
    for area, checks in (
        ("kafka", _kafka(settings)),
        ("s3", _s3(settings)),
        ("model", _model(settings)),
    ):
        try:
            for check in checks:
                _print(console, area, check)
                counts[check.result] += 1
        except PipelineError as error:
            _print(console, area, Check("reach", CheckResult.FAILED, error.message))
            counts[CheckResult.FAILED] += 1
    console.print(
        f"{counts[CheckResult.PASSED]} ok, {counts[CheckResult.WARNING]} warnings, "
        f"{counts[CheckResult.FAILED]} failed"
    )
    return counts[CheckResult.FAILED] == 0


def _print(console: Console, area: str, check: Check) -> None:
    mark, style = MARKS[check.result]
    console.print(Text.assemble((mark, style), f"  {area}: {check.subject}: {check.message}"))


def _create_topics(settings: Settings, console: Console, partitions: int, replication: int) -> None:
    topics = sound_topics(settings.kafka)
    if replication >= SAFE_REPLICATION:
        for configs in topics.values():
            configs["min.insync.replicas"] = str(SAFE_MIN_ISR)
    with KafkaAdmin(settings.kafka) as admin:
        created = admin.create_topics(topics, partitions, replication)
    for name in created:
        console.print(f"created topic {name}")


def _kafka(settings: Settings) -> Iterator[Check]:
    with KafkaAdmin(settings.kafka) as admin:
        brokers = ", ".join(settings.kafka.bootstrap_servers)
        yield Check("connection", CheckResult.PASSED, f"{brokers} answers")
        yield from KafkaDoctor(
            admin,
            settings.kafka,
            settings.delivery,
            member_of(settings, 0),
            settings.workers.count,
        ).check()


def _s3(settings: Settings) -> Iterator[Check]:
    admin = S3Admin(settings.s3)
    try:
        yield from admin.check()
    finally:
        admin.close()


def _model(settings: Settings) -> Iterator[Check]:
    encoder = load_encoder(settings)
    model = encoder.model
    yield Check(
        "load",
        CheckResult.PASSED,
        f"{model.name} at {model.revision[:19]} on {model.engine} in {model.precision}",
    )
    rules = load_rules(settings, model, encoder.encode_texts)
    for name, label_version in rules.versions.items():
        yield Check(f"label set {name}", CheckResult.PASSED, f"version {label_version}")
