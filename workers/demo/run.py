"""`clipstream demo`: runs the main job on this machine, from generated images to a report.

It starts a real Kafka and an S3 server, and publishes images and references. It runs the real
stream worker as users do, with the command line and a settings file, and reads the outcomes back as
a read_committed consumer.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.prometheus import samples
from pipeline.adapters.s3.admin import S3Admin
from workers.demo.account import Results
from workers.demo.closing import keep_running, print_summary
from workers.demo.messages import DemoMessage, StoredObject, messages, oddities
from workers.demo.odd_images import odd_images
from workers.demo.report import (
    ClassifiedRow,
    DeadLetterRow,
    Summary,
    thumbnail,
    write_report,
    write_summary,
)
from workers.demo.sent import sent_records
from workers.demo.shapes import DemoImage, demo_images
from workers.embedded.jars import KAFKA_VERSION
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import (
    LOOPBACK,
    ChildProcess,
    ServiceError,
    command_environment,
    free_ports,
)
from workers.embedded.s3 import MotoS3
from workers.settings.loading import Settings, load_settings

SEED = 20_260_101
BUCKET = "demo-images"
PARTITIONS = 4
WORKERS = 2
HERE = Path(__file__).parent
READY_S = 300.0
"""Longest wait for the workers to join. A slow machine needs long to load torch for the first
time."""
QUIET_S = 60.0
"""If no outcome arrives for this long, no more will come."""
DRAIN_S = 45.0


def run_demo(console: Console, output: Path, images: int, keep: bool) -> bool:
    """Run the whole demo. Returns whether every reference had exactly one outcome.

    The outcomes are read to the end once the workers have left, when no more can follow. With
    ``keep``, the services and the workers stay until Ctrl-C, and reading ends when each reference
    has its outcome. Nothing keeps running, however the demo ends.

    Raises:
        ServiceError: a service did not start; the message has the end of its log.
    """
    logs = output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for earlier in logs.glob("*.log"):
        earlier.unlink()
    with ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-demo-")))
        with console.status("starting Apache Kafka and an S3 server"):
            kafka = owned.enter_context(EmbeddedKafka(folder / "kafka", logs))
            s3 = owned.enter_context(MotoS3(logs))
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        file = output / "demo.yaml"
        health_port, http_port = _write_settings(file, folder, kafka.bootstrap, s3)
        settings = load_settings(file, environment={})
        with KafkaAdmin(settings.kafka) as admin:
            admin.create_topics(sound_topics(settings.kafka), PARTITIONS, -1)
        worker = _stream_process(file, logs / "stream.log", with_http=keep)
        owned.callback(worker.stop, DRAIN_S)
        worker.start()

        objects = _put_images(console, settings, images)
        sent = _publish(console, settings, [stored for stored, _ in objects])
        results = Results(sent_records(settings.kafka, sent))
        with OutcomeReader(settings.kafka) as reader:
            _follow(console, reader, results, worker, health_port, folder)
            if not keep:
                with console.status("stopping the stream workers"):
                    worker.stop(DRAIN_S)
            for (
                outcome
            ) in reader.rest():  # the rest: embeddings, and surplus outcomes if there are any
                results.add(outcome)
        summary, page = _report(output, settings, results, objects, sent)
        print_summary(console, summary, page)
        if keep:
            keep_running(console, _commands(file, s3, kafka.bootstrap, http_port))
    return summary.complete


def _commands(file: Path, s3: MotoS3, bootstrap: str, http_port: int) -> list[tuple[str, str]]:
    """What to open and to type for sending another image and for reading the results."""
    command = f"{Path(sys.executable).parent}/clipstream"
    credentials = (
        f"export AWS_ACCESS_KEY_ID={s3.access_key} AWS_SECRET_ACCESS_KEY={s3.secret_key} "
        f"AWS_ENDPOINT_URL={s3.endpoint} AWS_DEFAULT_REGION={s3.region}"
    )
    upload = (
        f"{sys.executable} -c \"import boto3; boto3.client('s3').upload_file("
        f"'YOUR.jpg', '{BUCKET}', 'mine/YOUR.jpg')\""
    )
    consumer = (
        f"{sys.executable} -m kafka.consumer -b {bootstrap} -C isolation_level=read_committed"
    )
    return [
        ("open in a browser: what happens now, and images of your own", _address(http_port)),
        ("once: how to reach the S3 server", credentials),
        ("upload an image of your own", upload),
        ("send a reference to it", f"{command} enqueue s3://{BUCKET}/mine/ -c {file}"),
        (
            "read the classifications as they come",
            f"{consumer} -t clipstream.classifications",
        ),
        ("check everything", f"{command} doctor -c {file}"),
    ]


def _address(http_port: int) -> str:
    return f"http://{LOOPBACK}:{http_port}/"


def _write_settings(file: Path, folder: Path, bootstrap: str, s3: MotoS3) -> tuple[int, int]:
    """Write the settings of the demo's stream, as a person would. Returns the ports of health and
    of HTTP."""
    health_port, http_port = free_ports(2)
    settings = {
        "kafka": {"bootstrap_servers": [bootstrap], "group": "demo", "instance": "demo"},
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [BUCKET]},
        "model": {
            "directory": str(HERE / "model"),
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
        },
        "label_sets": {"paths": [str(HERE / "labels.yaml")], "text_cache_dir": None},
        "decode": {"processes": 1},
        "workers": {"count": WORKERS, "cpus_per_worker": 1},
        "serve": {"port": http_port, "metrics_port": 0},
        "endpoints": {
            "health_port": health_port,
            "metrics_port": 0,
            "discovery_file": str(folder / "prometheus.json"),
        },
        "log": {"format": "text"},
    }
    file.write_text(
        "# Written by `clipstream demo`; its services end with it.\n"
        + yaml.safe_dump(settings, sort_keys=False)
    )
    return health_port, http_port


def _stream_process(file: Path, log: Path, *, with_http: bool) -> ChildProcess:
    job = ["serve", "--with-stream"] if with_http else ["stream"]
    command = [sys.executable, "-m", "workers.cli", *job, "--config", str(file)]
    return ChildProcess("stream worker", command, log=log, environment=command_environment())


def _put_images(
    console: Console, settings: Settings, count: int
) -> list[tuple[StoredObject, DemoImage]]:
    admin = S3Admin(settings.s3)
    admin.create_bucket(BUCKET)
    stored = []
    with _progress(console) as progress:
        task = progress.add_task("generating images, uploading them", total=count)
        for image in _images(count):
            written = admin.put(BUCKET, image.key, image.body)
            etag = written.etag or ""
            stored.append((StoredObject(BUCKET, image.key, etag, len(image.body)), image))
            progress.update(task, completed=len(stored))
    admin.close()
    return stored


def _images(count: int) -> Iterator[DemoImage]:
    odd = list(odd_images(SEED))
    yield from demo_images(SEED, max(0, count - len(odd)))
    yield from odd


def _publish(
    console: Console, settings: Settings, objects: Sequence[StoredObject]
) -> list[DemoMessage]:
    sent = [*messages(objects), *oddities(BUCKET)]
    with ReferenceProducer(settings.kafka, settings.kafka.input_topics[0]) as producer:
        for message in sent:
            producer.send(message.key, message.value, message.headers)
        producer.flush()
    kinds = len({message.via for message in sent})
    console.print(f"published {len(sent)} records of {kinds} kinds")
    return sent


def _follow(
    console: Console,
    reader: OutcomeReader,
    results: Results,
    worker: ChildProcess,
    health_port: int,
    folder: Path,
) -> None:
    """Watch the outcomes become visible until each entry has one."""
    with console.status(f"starting {WORKERS} stream workers on Ray, loading the model"):
        worker.wait_until(lambda: _answers(health_port), within_s=READY_S)
    results.last_at = time.monotonic()
    with _progress(console) as progress:
        classified = progress.add_task("classified", total=results.expected_visible)
        dead = progress.add_task("dead-lettered", total=None)
        while not results.complete:
            for outcome in reader.poll(0.2):
                results.add(outcome)
            progress.update(classified, completed=len(results.classified))
            progress.update(dead, completed=len(results.dead_letters))
            if not worker.running:
                raise ServiceError(f"the stream worker ended; its log says:\n{worker.log_tail()}")
            quiet = time.monotonic() - results.last_at > QUIET_S
            if quiet or results.all_visible:
                results.skipped = _skipped(folder / "prometheus.json")
            if quiet:
                console.print(f"[red]no outcome for {QUIET_S:g} s; see {worker.log}")
                break


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _skipped(discovery: Path) -> int:
    """Skipped references that the workers have counted, which show only in the metrics."""
    total = 0.0
    for group in json.loads(discovery.read_text()):
        for target in group["targets"]:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            total += sum(
                value
                for name, labels, value in samples(text)
                if name == "clipstream_references_total" and labels.get("outcome") == "skipped"
            )
    return int(total)


def _report(
    output: Path,
    settings: Settings,
    results: Results,
    objects: Sequence[tuple[StoredObject, DemoImage]],
    sent: Sequence[DemoMessage],
) -> tuple[Summary, Path]:
    images = {image.key: image for _, image in objects}
    via = _formats_by_key(sent)
    classified = [_classified_row(outcome, images, via) for outcome in results.classified]
    dead = [_dead_row(outcome, images, via) for outcome in results.dead_letters]
    known = [row for row in classified if row.truth is not None]
    account = results.account()
    summary = Summary(
        references=results.references,
        classified=len(classified),
        skipped=results.skipped,
        dead_letters=dict(sorted(Counter(row.code for row in dead).items())),
        lost=account.lost,
        duplicated=account.duplicated,
        accuracy=sum(not row.wrong for row in known) / len(known) if known else None,
        images_per_second=round(results.images_per_second, 1),
        delivery=settings.delivery.mode,
        versions={
            "clipstream": version("clipstream"),
            "python": platform.python_version(),
            "kafka": KAFKA_VERSION,
            **{name: version(name) for name in ("ray", "torch", "transformers", "kafka-python")},
        },
    )
    write_summary(output / "summary.json", summary)
    page = output / "report.html"
    write_report(page, summary, classified, dead)
    return summary, page


def _formats_by_key(sent: Sequence[DemoMessage]) -> dict[str, str]:
    """Format by record key; the entries of a list share one."""
    return {message.key.decode(): message.via for message in sent}


def _classified_row(
    outcome: PublishedOutcome, images: dict[str, DemoImage], via: dict[str, str]
) -> ClassifiedRow:
    event = json.loads(outcome.value)
    key = event["reference"]["key"]
    image = images.get(key)
    (result,) = event["results"]
    scores = sorted(
        ((each["label"], each["score"]) for each in result["scores"]), key=lambda pair: -pair[1]
    )
    return ClassifiedRow(
        subject=key,
        via=via.get((outcome.key or b"").decode(), ""),
        truth=image.truth if image else None,
        scores=scores[:3],
        decision=result["decision"],
        thumbnail=thumbnail(image.body) if image else None,
        note=image.note if image else "",
    )


def _dead_row(
    outcome: PublishedOutcome, images: dict[str, DemoImage], via: dict[str, str]
) -> DeadLetterRow:
    headers = {name: value.decode(errors="replace") for name, value in outcome.headers.items()}
    subject = headers.get("ce_subject") or "a record that names no object"
    image = images.get(subject) or images.get(subject.removeprefix(f"s3://{BUCKET}/"))
    return DeadLetterRow(
        subject=subject,
        via=via.get((outcome.key or b"").decode(), ""),
        code=headers["dlq.code"],
        message=headers["dlq.message"],
        note=image.note if image else "",
    )
