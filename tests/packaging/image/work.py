"""The image at work, confined: it answers over HTTP, and classifies from a real Kafka and S3."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from deploy.dev import versitygw
from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.outcomes import OutcomeReader
from pipeline.adapters.s3.admin import S3Admin
from pipeline.records import OutputTopic
from tests.packaging.image.container import CheckError, Container, Image
from tests.rigs.root import ROOT
from workers.demo.shapes import demo_images
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import MotoS3, S3Server
from workers.settings.loading import Settings

IMAGES = 40
READY_S = 300.0
MODEL, LABELS = "/models/shapes", "/etc/clipstream/label-sets"
SETTINGS = "/etc/clipstream/settings/settings.yaml"

READY = """
from http.client import HTTPConnection
server = HTTPConnection("127.0.0.1", 8000, timeout=10)
server.request("GET", "/readyz")
raise SystemExit(server.getresponse().status != 200)
"""

CLASSIFY = """
import base64, io, json
from http.client import HTTPConnection
from PIL import Image
picture = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(picture, "PNG")
body = {"image": base64.b64encode(picture.getvalue()).decode()}
server = HTTPConnection("127.0.0.1", 8000, timeout=60)
server.request("POST", "/v1/classify", json.dumps(body), {"content-type": "application/json"})
answer = server.getresponse()
print(answer.status, answer.read().decode())
"""


def serves(image: Image, *, mounted: bool = True) -> dict[str, float | int | str]:
    """`clipstream serve` without a network: ready, an image classified, and a clean end. Where no
    model is ``mounted``, the image must have one, and say so to Clipstream."""
    settings = _common(mounted=mounted) | {"serve": {"proxy": "python"}}
    with (
        _file(settings) as file,
        image.running("serve", "-c", SETTINGS, mounts=_mounts(file, mounted=mounted)) as container,
    ):
        ready_s = _ready(container)
        answer = container.execute("python3", "-c", CLASSIFY)
        if not answer.startswith("200 "):
            raise CheckError(f"POST /v1/classify: {answer[:1000]}")
        kind = container.execute("python3", "-c", "print(open('/proc/1/comm').read())").strip()
        began = time.monotonic()
        container.stop(within_s=60)
        stop_s = time.monotonic() - began
        code = int(container.state()["ExitCode"])
        if code or kind not in ("tini", "catatonit", "docker-init"):
            raise CheckError(f"exit code {code}, process 1 is {kind}: {container.logs()[-3000:]}")
    return {"ready_s": round(ready_s, 1), "stop_s": round(stop_s, 1), "process_1": kind}


def classifies(image: Image) -> dict[str, float | int]:
    """`clipstream stream` until idle: every reference has its outcome, and the exit code is 0."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as services:
        kafka = services.enter_context(EmbeddedKafka(Path(folder) / "kafka"))
        s3 = services.enter_context(_s3(Path(folder)))
        credentials = {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        }
        os.environ |= credentials
        given = _common() | {
            "kafka": {"bootstrap_servers": [kafka.bootstrap], "instance": "image"},
            "s3": {
                "endpoint": s3.endpoint,
                "region": s3.region,
                "allowed_buckets": ["images"],
            },
            # The container shares this machine's network here, and its ports may be taken.
            "endpoints": {"health_port": 0, "metrics_port": 0},
        }
        settings = Settings.model_validate(given)
        with KafkaAdmin(settings.kafka) as admin:
            admin.create_topics(sound_topics(settings.kafka), 2, 1)
        with contextlib.closing(S3Admin(settings.s3)) as store:
            store.create_bucket("images")
            for each in demo_images(1, IMAGES):
                store.put("images", each.key, each.body)
        file = services.enter_context(_file(given))
        run = partial(
            image.running,
            mounts=_mounts(file),
            variables=[f"{name}={value}" for name, value in credentials.items()],
            network="host",
        )
        with run("enqueue", "s3://images/", "-c", SETTINGS) as container:
            _ended(container)
        began = time.monotonic()
        words = ("stream", "--until-idle", "3", "-c", SETTINGS)
        with run(*words) as container:
            _ended(container)
        took_s = time.monotonic() - began
        with OutcomeReader(settings.kafka) as reader:
            outcomes = list(reader.rest())
    keys = [each.key for each in outcomes if each.topic is OutputTopic.CLASSIFICATIONS]
    if len(keys) != IMAGES or len(set(keys)) != IMAGES:
        raise CheckError(f"{len(keys)} outcomes of {len(set(keys))} images, of {IMAGES}")
    return {"references": IMAGES, "outcomes": len(keys), "run_s": round(took_s, 1)}


def _common(*, mounted: bool = True) -> dict[str, Any]:
    return {
        "model": {"device": "cpu", **({"directory": MODEL} if mounted else {})},
        "label_sets": {"paths": [LABELS]},
        "log": {"format": "text"},
    }


def _mounts(settings: Path, *, mounted: bool = True) -> list[tuple[Path, str]]:
    files = [(settings, SETTINGS), (ROOT / "workers/demo/labels.yaml", f"{LABELS}/shapes.yaml")]
    return [*files, (ROOT / "workers/demo/model", MODEL)] if mounted else files


@contextlib.contextmanager
def _file(settings: dict[str, Any]) -> Iterator[Path]:
    """A settings file that any user can read, as a ConfigMap's are."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(yaml.safe_dump(settings))
        file.flush()
        Path(file.name).chmod(0o644)
        yield Path(file.name)


def _s3(folder: Path) -> S3Server:
    return VersityS3(folder / "s3") if versitygw.available() else MotoS3(folder)


def _ready(container: Container) -> float:
    """Seconds until the server answers."""
    began = time.monotonic()
    while time.monotonic() - began < READY_S:
        with contextlib.suppress(CheckError):
            container.execute("python3", "-c", READY)
            return time.monotonic() - began
        if not container.state()["Running"]:
            break
        time.sleep(0.5)
    raise CheckError(f"not ready: {container.logs()[-3000:]}")


def _ended(container: Container) -> None:
    if code := container.wait():
        raise CheckError(f"exit code {code}: {container.logs()[-3000:]}")
