"""The services that the demo starts: a Kafka that is one, S3 servers, none of them left behind."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from pipeline.adapters.kafka.clients import connect
from tests.rigs.waiting import eventually
from workers.embedded import kafka as embedded_kafka
from workers.embedded.kafka import EmbeddedKafka, class_archive
from workers.embedded.processes import ProcessIdentity, ServiceError
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

DEADLINE_S = 60.0

# A command that starts a broker, says its id, and lives on until it is killed.
COMMAND = """
import sys, time
from pathlib import Path
from workers.embedded.kafka import EmbeddedKafka
broker = EmbeddedKafka(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""


def values_of(bootstrap: str, topic: str, expected: int) -> list[bytes]:
    """Values of the topic's partition 0 for a read_committed consumer, once there are as many as
    expected; those after the last are read as well."""
    from kafka import KafkaConsumer, TopicPartition

    partition = TopicPartition(topic, 0)
    with closing(
        connect(
            KafkaConsumer, {"bootstrap_servers": bootstrap, "isolation_level": "read_committed"}
        )
    ) as consumer:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        values: list[bytes] = []
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=100).values():
                values += [record.value for record in records]
            if len(values) >= expected and consumer.position(partition) >= end:
                break
    return values


def s3_client(server: S3Server, secret_key: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret_key or server.secret_key,
        config=Config(retries={"max_attempts": 1}),
    )


def test_only_what_a_transaction_committed_is_seen(
    kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    from kafka import KafkaProducer

    topic = make_topic()
    with closing(
        connect(
            KafkaProducer,
            {"bootstrap_servers": kafka_bootstrap, "transactional_id": uuid.uuid4().hex},
        )
    ) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"taken back", partition=0).get(DEADLINE_S)
        producer.abort_transaction()
        producer.begin_transaction()
        producer.send(topic, b"committed", partition=0).get(DEADLINE_S)
        producer.commit_transaction()
    assert values_of(kafka_bootstrap, topic, expected=1) == [b"committed"]


def test_a_topic_that_nobody_created_is_an_error(kafka_bootstrap: str) -> None:
    from kafka import KafkaAdminClient

    with closing(connect(KafkaAdminClient, {"bootstrap_servers": kafka_bootstrap})) as admin:
        (found,) = admin.describe_topics(["mistyped"])
    assert found["error_code"] != 0


def test_a_second_start_on_the_same_folder_has_the_same_cluster(tmp_path: Path) -> None:
    from kafka import KafkaAdminClient, KafkaProducer

    with EmbeddedKafka(tmp_path / "data", tmp_path / "logs") as first:
        with closing(connect(KafkaAdminClient, {"bootstrap_servers": first.bootstrap})) as admin:
            cluster_id = admin.describe_cluster()["cluster_id"]
            topic = {"num_partitions": 1, "replication_factor": 1}
            admin.create_topics({"kept": topic}, wait_for_metadata=True)
        with closing(
            connect(KafkaProducer, {"bootstrap_servers": first.bootstrap, "acks": "all"})
        ) as producer:
            producer.send("kept", b"before", partition=0).get(DEADLINE_S)

        with pytest.raises(ServiceError, match="another broker runs"):
            EmbeddedKafka(tmp_path / "data", tmp_path / "logs").start()
    with EmbeddedKafka(tmp_path / "data", tmp_path / "logs") as second:
        with closing(connect(KafkaAdminClient, {"bootstrap_servers": second.bootstrap})) as admin:
            assert admin.describe_cluster()["cluster_id"] == cluster_id
        assert values_of(second.bootstrap, "kept", expected=1) == [b"before"]
    assert (tmp_path / "logs" / "kafka.log").stat().st_size > 0


def test_a_wrong_property_is_said_with_the_brokers_words(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path, properties={"num.io.threads": "none"})
    with pytest.raises(ServiceError, match=r"num\.io\.threads"):
        broker.start()


def mapped(broker: EmbeddedKafka) -> str:
    """The files in the memory of the broker's process."""
    return Path(f"/proc/{broker.pid}/maps").read_text()


def test_a_broker_starts_from_the_archive_of_its_classes(kafka: EmbeddedKafka) -> None:
    archive = class_archive()
    if not archive.is_file():
        pytest.skip("no archive of Kafka's classes; run: python -m deploy.dev.suite binaries")
    assert str(archive) in mapped(kafka)


def test_a_damaged_archive_of_classes_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "classes.jsa"
    damaged.write_bytes(b"\0" * 100_000)
    monkeypatch.setattr(embedded_kafka, "class_archive", lambda: damaged)
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        assert str(damaged) not in mapped(broker)


def test_a_broker_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        broker = ProcessIdentity.of(int(command.stdout.readline()))
        command.kill()
    assert broker is not None
    eventually(lambda: not broker.running)


def test_the_moto_server_keeps_objects(moto_s3: S3Server) -> None:
    client = s3_client(moto_s3)
    client.create_bucket(Bucket="kept-by-moto")
    client.put_object(Bucket="kept-by-moto", Key="a/b.jpg", Body=b"bytes")
    assert client.get_object(Bucket="kept-by-moto", Key="a/b.jpg")["Body"].read() == b"bytes"


def test_the_real_server_keeps_versions(s3_server: S3Server) -> None:
    client = s3_client(s3_server)
    client.create_bucket(Bucket="kept-in-versions")
    client.put_bucket_versioning(
        Bucket="kept-in-versions", VersioningConfiguration={"Status": "Enabled"}
    )
    first = client.put_object(Bucket="kept-in-versions", Key="k", Body=b"first")
    client.put_object(Bucket="kept-in-versions", Key="k", Body=b"second")
    read = client.get_object(Bucket="kept-in-versions", Key="k", VersionId=first["VersionId"])
    assert read["Body"].read() == b"first"
    assert client.get_object(Bucket="kept-in-versions", Key="k")["Body"].read() == b"second"


def test_the_real_server_refuses_wrong_credentials(s3_server: S3Server) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_client(s3_server, secret_key="wrong").list_buckets()


def test_photographs_are_jpeg_files_of_different_names(photos: list[tuple[str, bytes]]) -> None:
    assert len({name for name, _ in photos}) == len(photos) > 0
    assert all(body.startswith(b"\xff\xd8\xff") for _, body in photos)
