"""Services and data that tests share: started or read when the first test asks for them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

import tests.rigs.aws_models  # noqa: F401 - for its effect
from deploy.dev import versitygw
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from tests.rigs.skips import (
    pytest_collection_modifyitems,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)
from workers.embedded.jars import kafka_jars
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ServiceError
from workers.embedded.s3 import MotoS3, S3Server

__all__ = [
    "MakeTopic",
    "pytest_collection_modifyitems",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
]

MakeTopic = Callable[..., str]

GENERATED_PHOTOS = 12

# How long an example takes depends on what else the machine does.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    # Tests that need a Ray start one, whatever cluster the user works with.
    os.environ.pop("RAY_ADDRESS", None)
    # Whole pages for each broker that a test stops.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch and build what the chosen tests need: the first time takes longer than a test may."""
    if session.config.option.collectonly:
        return
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    # What cannot be had is said by the fixture, to the tests that need it.
    with contextlib.suppress(ServiceError):
        if "kafka" in fixtures:
            kafka_jars()
    with contextlib.suppress(ServiceError):
        if "s3_server" in fixtures:
            versitygw.binary()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A real Apache Kafka for the whole session. Tests that stop brokers start their own."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), properties=IMPATIENT_BROKER) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: EmbeddedKafka) -> str:
    """The session's broker, ``host:port``."""
    return kafka.bootstrap


@pytest.fixture
def make_topic(kafka_bootstrap: str, request: pytest.FixtureRequest) -> MakeTopic:
    """Creates a topic of the test's own: ``make_topic(partitions=1, configs=None)`` is its name."""

    def make(partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        from kafka import KafkaAdminClient

        from pipeline.adapters.kafka.clients import connect

        test = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.name)[:100]
        topic = f"{test}-{uuid.uuid4().hex[:12]}"
        with contextlib.closing(
            connect(KafkaAdminClient, {"bootstrap_servers": kafka_bootstrap})
        ) as admin:
            settings = {
                "num_partitions": partitions,
                "replication_factor": 1,
                "configs": dict(configs or {}),
            }
            admin.create_topics({topic: settings}, wait_for_metadata=True)
        return topic

    return make


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the whole session; skipped without Go."""
    if not versitygw.available():
        pytest.skip(f"{versitygw.WHAT_IT_NEEDS}; install Go, then: python deploy/dev/versitygw.py")
    with versitygw.VersityS3(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """moto's S3 server for the whole session."""
    with MotoS3(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def test_data() -> Path | None:
    """The folder of real photographs, odd images and CLIP's tokenizer; None where it is not."""
    folder = os.environ.get("CLIPSTREAM_TEST_DATA")
    if not folder:
        return None
    if not Path(folder).is_dir():
        pytest.fail(f"CLIPSTREAM_TEST_DATA: no folder {folder}; mend or unset it", pytrace=False)
    return Path(folder)


@pytest.fixture(scope="session")
def photos(test_data: Path | None) -> list[tuple[str, bytes]]:
    """Names and bytes of JPEG files: real photographs, or a dozen generated ones."""
    if test_data is None:
        return [(f"generated-{seed:02}.jpg", _generated(seed)) for seed in range(GENERATED_PHOTOS)]
    return [(path.name, path.read_bytes()) for path in sorted((test_data / "photos").glob("*.jpg"))]


def _generated(seed: int) -> bytes:
    """A JPEG of coloured shapes, the same for the same seed."""
    random = Random(seed)
    width, height = random.randint(60, 640), random.randint(60, 640)

    def colour() -> tuple[int, int, int]:
        return (random.randrange(256), random.randrange(256), random.randrange(256))

    image = Image.new("RGB", (width, height), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        across = sorted(random.randrange(width) for _ in range(2))
        down = sorted(random.randrange(height) for _ in range(2))
        box = (across[0], down[0], across[1], down[1])
        random.choice((draw.ellipse, draw.rectangle))(box, fill=colour())
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
