"""A real Kafka with two ways in: an open one for the test, and one with TLS and passwords."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import KafkaPolicy
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from tests.rigs.services.certificates import certified
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import LOOPBACK, free_ports

USER, PASSWORD = "clipstream", "a-password-of-tests"


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """``broker`` is open at its usual address. ``bootstrap`` is the other one, ``host:port``: TLS
    by the authority whose certificate is ``authority`` (PEM), SCRAM-SHA-512, one account."""

    broker: EmbeddedKafka
    bootstrap: str
    authority: str


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """Start the broker; it stops with the block."""
    (port,) = free_ports(1)
    listener = f"PROXIED{port}"
    authority, _ = certified(folder, LOOPBACK)
    keystore = folder / "keystore.pem"
    keystore.write_bytes((folder / "key.pem").read_bytes() + (folder / "leaf.pem").read_bytes())
    of_listener = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    }
    properties = {
        **IMPATIENT_BROKER,
        "listener.security.protocol.map": (
            f"CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,{listener}:SASL_SSL"
        ),
        **{f"listener.name.{listener.lower()}.{name}": it for name, it in of_listener.items()},
    }
    with EmbeddedKafka(folder / "kafka", properties=properties, proxied={port: port}) as broker:
        account = UserScramCredentialUpsertion(
            USER, ScramMechanism.SCRAM_SHA_512, PASSWORD.encode(), iterations=4096
        )
        with KafkaAdmin(KafkaPolicy(bootstrap_servers=(broker.bootstrap,))) as admin:
            admin.client.alter_user_scram_credentials([account])
        yield SecuredKafka(broker, f"{LOOPBACK}:{port}", authority.read_text())
