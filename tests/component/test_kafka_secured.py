"""A broker of its own, with accounts and access rules: it may be killed, too."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import KafkaDoctor
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.errors import CommitDoubtful, Halt, Retry
from pipeline.ports import CheckResult, Commit
from pipeline.records import OutputTopic, Partition
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import (
    IMPATIENT,
    Deployment,
    Polling,
    collected,
    held,
    outcome,
    settle,
)
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka

# The client leaves sockets that were refused to the garbage collector.
pytestmark = [
    pytest.mark.component,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

ADMIN = KafkaSecurity(
    protocol="SASL_PLAINTEXT",
    sasl_mechanism="PLAIN",
    username="admin",
    password=SecretStr("admin-secret"),
)
WORKER = KafkaSecurity(
    protocol="SASL_PLAINTEXT",
    sasl_mechanism="SCRAM-SHA-256",
    username="worker",
    password=SecretStr("worker-secret"),
)

ACCOUNT = UserScramCredentialUpsertion(
    "worker", ScramMechanism.SCRAM_SHA_256, b"worker-secret", iterations=4096
)

PLAIN_ACCOUNTS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="admin" password="admin-secret" user_admin="admin-secret";'
)
PROPERTIES = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": PLAIN_ACCOUNTS,
    "listener.name.client.scram-sha-256.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    # Takes unsigned tokens, which are for tests.
    "listener.name.client.oauthbearer.sasl.jaas.config": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    folder: Path = tmp_path_factory.mktemp("secured")
    with EmbeddedKafka(folder, properties=PROPERTIES) as started:
        kafka = KafkaPolicy(bootstrap_servers=(started.bootstrap,), security=ADMIN)
        with KafkaAdmin(kafka) as admin:
            admin.client.alter_user_scram_credentials([ACCOUNT])
        yield started


@pytest.fixture
def deployment(broker: EmbeddedKafka) -> Iterator[Deployment]:
    with Deployment(broker.bootstrap, security=ADMIN) as opened:
        yield opened


def grant(deployment: Deployment, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
    allow = ACLPermissionType.ALLOW
    pattern = ResourcePattern(kind, name)
    acls = [ACL("User:worker", "*", operation, allow, pattern) for operation in operations]
    deployment.admin.client.create_acls(acls)


def grant_reading(deployment: Deployment) -> None:
    grant(deployment, ResourceType.TOPIC, deployment.input, ACLOperation.READ)
    grant(deployment, ResourceType.GROUP, deployment.kafka.group, ACLOperation.READ)


def grant_writing(deployment: Deployment) -> None:
    for role in OutputTopic:
        grant(deployment, ResourceType.TOPIC, deployment.topic(role), ACLOperation.WRITE)


def grant_transactions(deployment: Deployment) -> None:
    name = deployment.member().transactional_id
    grant(deployment, ResourceType.TRANSACTIONAL_ID, name, ACLOperation.WRITE)


def worker(deployment: Deployment) -> Polling:
    """A stream of the worker's account."""
    kafka = deployment.kafka.model_copy(update={"security": WORKER})
    facts = deployment.facts
    stream = KafkaStream(kafka, deployment.delivery, deployment.member(), facts.topic_ids)
    deployment.closing.callback(stream.close, 1.0)
    return Polling(stream)


def unsigned_token(subject: str) -> str:
    """A JWT that says who it is and proves nothing (RFC 7519, section 6)."""
    claims = {"sub": subject, "iat": int(time.time()), "exp": int(time.time()) + 600}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    encoded = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{'.'.join(encoded)}."


def test_a_token_from_a_file_names_the_account(deployment: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(unsigned_token("worker"))
    security = KafkaSecurity(
        protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", oauth_token_file=str(file)
    )
    kafka = deployment.kafka.model_copy(update={"security": security})
    with pytest.raises(Halt), ReferenceProducer(kafka, deployment.input) as producer:
        producer.send(b"k", b"not allowed to write")
    grant(deployment, ResourceType.TOPIC, deployment.input, ACLOperation.WRITE)
    with ReferenceProducer(kafka, deployment.input) as producer:
        producer.send(b"k", b"allowed")
    file.write_text("no token")
    with pytest.raises(Halt, match="credentials"), KafkaAdmin(kafka):
        pass


def test_a_worker_with_the_documented_rights_works(deployment: Deployment) -> None:
    grant_reading(deployment)
    grant_writing(deployment)
    grant_transactions(deployment)
    deployment.produce([b"0"])
    polling = worker(deployment)
    polling.until(lambda: len(polling.records) == 1 and len(polling.owned) == 2)
    eventually(lambda: polling.stream.recover() is not None)
    polling.stream.commit(polling.finished())
    assert deployment.values() == [b"0"]
    assert deployment.committed(0) == 1


@pytest.mark.parametrize("allowed", [(), (ACLOperation.DESCRIBE,)])
def test_a_worker_that_may_not_read_the_topic_stops(
    deployment: Deployment, allowed: tuple[ACLOperation, ...]
) -> None:
    grant(deployment, ResourceType.TOPIC, deployment.input, *allowed)
    grant(deployment, ResourceType.GROUP, deployment.kafka.group, ACLOperation.READ)
    deployment.produce([b"secret"])
    with pytest.raises(Halt) as halt:
        worker(deployment).until(lambda: False)
    assert halt.value.code == "kafka.not_authorized"


def test_a_worker_that_may_not_use_the_group_stops(deployment: Deployment) -> None:
    grant(deployment, ResourceType.TOPIC, deployment.input, ACLOperation.READ)
    with pytest.raises(Halt) as halt:
        worker(deployment).until(lambda: False)
    assert halt.value.code == "kafka.not_authorized"


def test_a_worker_that_may_not_use_its_transactional_id_stops(deployment: Deployment) -> None:
    grant_reading(deployment)
    grant_writing(deployment)
    with pytest.raises(Halt, match=deployment.member().transactional_id) as halt:
        worker(deployment).stream.recover()
    assert halt.value.code == "kafka.not_authorized"


def test_a_worker_that_may_not_write_stops(deployment: Deployment) -> None:
    grant_reading(deployment)
    grant_transactions(deployment)
    polling = worker(deployment)
    polling.until(lambda: len(polling.owned) == 2)
    polling.stream.recover()
    with pytest.raises(Halt) as halt:
        polling.stream.commit(Commit({deployment.partition(0): Progress(1)}, (outcome(b"v"),)))
    assert halt.value.code == "kafka.not_authorized"


def test_a_worker_that_may_not_write_dead_letters_stops_and_skips_nothing(
    deployment: Deployment,
) -> None:
    grant_reading(deployment)
    grant_transactions(deployment)
    for role in (OutputTopic.CLASSIFICATIONS, OutputTopic.EMBEDDINGS):
        grant(deployment, ResourceType.TOPIC, deployment.topic(role), ACLOperation.WRITE)
    polling = worker(deployment)
    polling.until(lambda: len(polling.owned) == 2)
    polling.stream.recover()
    first = deployment.partition(0)
    polling.stream.commit(Commit({first: Progress(1)}, (outcome(b"allowed"),)))
    letter = outcome(b"letter", topic=OutputTopic.DEAD_LETTERS)
    with pytest.raises(Halt, match=deployment.topic(OutputTopic.DEAD_LETTERS)) as halt:
        polling.stream.commit(Commit({first: Progress(2)}, (outcome(b"neighbour"), letter)))
    assert halt.value.code == "kafka.not_authorized"
    assert [value for *_, value in deployment.visible(settled=False)] == [b"allowed"]
    assert deployment.committed(0, settled=False) == 1


def stopped(polling: Polling, partition: Partition) -> bool:
    """One cycle of a worker that has an outcome to commit in each."""
    polling.once()
    with contextlib.suppress(CommitDoubtful):
        if not polling.stream.can_commit:
            polling.stream.recover()
        polling.stream.commit(Commit({partition: Progress(1)}, (outcome(b"v"),)))
    return False


def working(deployment: Deployment) -> Polling:
    """A worker with all rights, at work."""
    grant_reading(deployment)
    grant_writing(deployment)
    grant_transactions(deployment)
    polling = worker(deployment)
    polling.until(lambda: len(polling.owned) == 2)
    assert not stopped(polling, deployment.partition(0))
    assert polling.stream.can_commit
    return polling


@pytest.mark.parametrize("taken", ["input", "group", "output", "transactional id"])
def test_a_worker_whose_rights_are_taken_away_stops(deployment: Deployment, taken: str) -> None:
    polling = working(deployment)
    kind, name = {
        "input": (ResourceType.TOPIC, deployment.input),
        "group": (ResourceType.GROUP, deployment.kafka.group),
        "output": (ResourceType.TOPIC, deployment.topic(OutputTopic.CLASSIFICATIONS)),
        "transactional id": (ResourceType.TRANSACTIONAL_ID, deployment.member().transactional_id),
    }[taken]
    pattern = ResourcePatternFilter(kind, name, ACLResourcePatternType.LITERAL)
    rights = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
    deployment.admin.client.delete_acls([rights])
    with pytest.raises(Halt) as halt:
        eventually(lambda: stopped(polling, deployment.partition(0)))
    assert halt.value.code == "kafka.not_authorized"


def test_a_worker_whose_account_is_locked_stops(deployment: Deployment) -> None:
    """A broker asks who it is when a connection is made."""
    polling = working(deployment)
    lock = UserScramCredentialDeletion("worker", ScramMechanism.SCRAM_SHA_256)
    deployment.admin.client.alter_user_scram_credentials([lock])
    try:
        lose_connections(polling.stream)
        with pytest.raises(Halt) as reading:
            polling.until(lambda: False)
        with pytest.raises(Halt) as writing:
            polling.stream.recover()
    finally:
        deployment.admin.client.alter_user_scram_credentials([ACCOUNT])
    assert reading.value.code == writing.value.code == "kafka.not_authenticated"


def lose_connections(stream: KafkaStream) -> None:
    manager = stream._consumer._client._manager

    async def lose() -> None:
        for node in list(manager._conns):
            manager.close(node)

    manager.run(lose)


def test_a_wrong_password_stops_every_client(deployment: Deployment) -> None:
    wrong = ADMIN.model_copy(update={"password": SecretStr("guessed")})
    kafka = deployment.kafka.model_copy(update={"security": wrong})
    member = deployment.member()
    clients: tuple[Callable[[], object], ...] = (
        lambda: KafkaAdmin(kafka),
        lambda: KafkaStream(kafka, deployment.delivery, member, {}),
        lambda: KafkaSink(kafka, deployment.delivery, member).build(),
        lambda: ReferenceProducer(kafka, deployment.input),
    )
    for client in clients:
        with pytest.raises(Halt) as halt:
            client()
        assert halt.value.code == "kafka.not_authenticated"
        assert "guessed" not in halt.value.message


def test_the_doctor_names_the_rights_that_are_missing(deployment: Deployment) -> None:
    grant(deployment, ResourceType.TOPIC, deployment.input, ACLOperation.DESCRIBE)
    grant(deployment, ResourceType.GROUP, deployment.kafka.group, ACLOperation.DESCRIBE)
    classifications = deployment.topic(OutputTopic.CLASSIFICATIONS)
    grant(deployment, ResourceType.TOPIC, classifications, ACLOperation.WRITE)
    kafka = deployment.kafka.model_copy(update={"security": WORKER})
    member = deployment.member()
    with KafkaAdmin(kafka) as admin:
        checks = list(KafkaDoctor(admin, kafka, deployment.delivery, member, 1).check())
    failed = {each.subject: each.message for each in checks if each.result is CheckResult.FAILED}
    assert failed.keys() == {
        f"topic {deployment.input}",
        f"topic {deployment.topic(OutputTopic.EMBEDDINGS)}",
        f"topic {deployment.topic(OutputTopic.DEAD_LETTERS)}",
        f"topic {deployment.topic(OutputTopic.ACTIONS)}",
        f"group {deployment.kafka.group}",
        "transactional ids test/*",
    }
    assert "READ is not allowed" in failed[f"topic {deployment.input}"]
    assert "may not be described" in failed[f"topic {deployment.topic(OutputTopic.EMBEDDINGS)}"]
    assert "READ is not allowed" in failed[f"group {deployment.kafka.group}"]
    assert "Write and Describe on transactional id" in failed["transactional ids test/*"]
    warned = {each.subject: each.message for each in checks if each.result is CheckResult.WARNING}
    assert "DescribeConfigs" in warned[f"settings of {classifications}"]
    assert "DescribeConfigs" in warned["broker settings"]


def test_a_worker_goes_on_when_its_broker_is_back(broker: EmbeddedKafka) -> None:
    before = held()
    outlive(broker)
    eventually(lambda: collected(before))


def outlive(broker: EmbeddedKafka) -> None:
    with Deployment(broker.bootstrap, security=ADMIN, delivery=IMPATIENT) as deployment:
        polling = deployment.ready()
        first = deployment.partition(0)
        polling.stream.commit(Commit({first: Progress(1)}, (outcome(b"before"),)))
        # A broker without replicas that is killed before its markers are written may hold the
        # group's offsets back for good afterwards.
        assert deployment.committed(0) == 1
        broker.kill()
        doubtful = Commit({first: Progress(2)}, (outcome(b"doubtful"),))
        with pytest.raises(CommitDoubtful):
            polling.stream.commit(doubtful)
        before = held()
        for _ in range(2):
            with pytest.raises(CommitDoubtful):
                polling.stream.recover()
            with contextlib.suppress(Retry):
                polling.once()
        eventually(lambda: collected(before))
        broker.start()
        settle(polling, doubtful)
        deployment.produce([b"after"])
        polling.until(lambda: bool(polling.records))
        assert polling.values == [b"after"]
        assert {*deployment.values()} == {b"before", b"doubtful"}
        assert len(deployment.values()) == 2
        assert deployment.committed(0) == 2
