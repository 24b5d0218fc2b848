"""KEDA sets the number of a release's pods by the lag of a real Kafka, on nodes that kwok plays.

The pods run nothing: the group's member is the test, on the product's own consumer and
transactions. Threshold and times are small, so that each step can be waited for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl, Object
from tests.rigs.charts import CHART
from tests.rigs.kubernetes.release import NAME, OBJECTS, Release, end
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.services.secured_kafka import PASSWORD, USER, SecuredKafka, secured_kafka
from tests.rigs.waiting import eventually

pytestmark = [
    pytest.mark.component,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("keda_beside", "gpu_nodes"),
]

PARTITIONS, MOST = 6, 4
KEDA: Mapping[str, Any] = {
    "enabled": True,
    "maxReplicas": MOST,
    "lagThreshold": 100,
    "pollingInterval": 1,
    "scaleDownStabilizationSeconds": 5,
    "scaleDownPeriodSeconds": 5,
}
SCRAM = {"protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
MSK = {"protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM"}
SECRET = {
    "name": "kafka",
    "usernameKey": "username",
    "passwordKey": "password",
    "caKey": "ca.crt",
}

WITHIN_S = 300.0
"""For each step. The controllers look every 15 s."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture
def deployment(kafka: SecuredKafka) -> Iterator[Deployment]:
    """A topic without records, and a group that has committed nothing."""
    with Deployment(kafka.broker.bootstrap, PARTITIONS, start=None) as opened:
        yield opened


def installed(
    kubectl: Kubectl,
    deployment: Deployment,
    bootstrap: str,
    *,
    security: Mapping[str, Any] | None = None,
    **more: Any,
) -> Release:
    """A release whose drivers would read the deployment's topic from the address."""
    kafka = {
        "bootstrap_servers": [bootstrap],
        "group": deployment.kafka.group,
        "input_topics": [deployment.input],
        "security": security or {},
    }
    values = {
        "labelSets": {"files": {"shapes": "name: shapes\n"}},
        "settings": {"kafka": kafka},
        "topics": {"partitions": PARTITIONS},
        "keda": KEDA,
        **more,
    }
    release = Release(kubectl, values)
    release.helm("install", NAME, str(CHART), values=values)
    return release


def send(deployment: Deployment, records: int) -> None:
    """So many records more, spread over the partitions."""
    for number in range(PARTITIONS):
        share = len(range(number, records, PARTITIONS))
        deployment.produce([b"reference"] * share, number)


class Replicas:
    """Numbers of pods that the StatefulSet was told to have: each with the second, counted from
    here, in which it was first seen."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._began = time.monotonic()
        self.seen: list[tuple[float, int]] = []

    def now(self) -> int:
        path = "jsonpath={.spec.replicas}"
        number = int(self._kubectl("get", "statefulset", OBJECTS, "-o", path))
        if not self.seen or self.seen[-1][1] != number:
            self.seen.append((self.elapsed_s, number))
        return number

    def become(self, number: int) -> None:
        eventually(lambda: self.now() == number, WITHIN_S, 0.5)

    @property
    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began, 1)


def condition(kubectl: Kubectl, name: str) -> Object:
    """A condition of the ScaledObject; empty while KEDA has not written it."""
    status = kubectl.get("scaledobject", OBJECTS).get("status", {})
    return next((it for it in status.get("conditions", ()) if it["type"] == name), {})


def secret(password: str, authority: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kafka"},
        "stringData": {"username": USER, "password": password, "ca.crt": authority},
    }


def test_pods_follow_the_lag_up_to_the_maximum_and_back(
    simulated: Kubectl, kafka: SecuredKafka, deployment: Deployment, result: dict[str, Any]
) -> None:
    send(deployment, 250)
    release = installed(simulated, deployment, kafka.broker.bootstrap)
    replicas = Replicas(simulated)
    replicas.become(3)
    lag = [(0.0, 250), (replicas.elapsed_s, 850)]
    send(deployment, 600)
    replicas.become(MOST)
    eventually(lambda: len(release.pods("driver")) == MOST, WITHIN_S, 0.5)

    release.values["settings"]["batch"] = {"max_size": 8}
    with release.upgrade() as upgrading:
        end(upgrading)
    assert replicas.now() == MOST

    deployment.initialise("earliest")
    member = deployment.ready()
    member.until(lambda: len(member.records) == 850)
    lag.append((replicas.elapsed_s, 0))
    member.stream.commit(member.finished())
    replicas.become(1)
    eventually(lambda: release.pods("driver").keys() == {f"{OBJECTS}-0"}, WITHIN_S, 0.5)
    result["by_lag"] = {"keda": KEDA, "lag": lag, "replicas": replicas.seen}
    assert [number for _, number in replicas.seen] == [1, 3, MOST, 3, 2, 1]


def test_a_wrong_password_is_told_and_the_right_one_scales(
    simulated: Kubectl, kafka: SecuredKafka, deployment: Deployment, result: dict[str, Any]
) -> None:
    send(deployment, 250)
    simulated.apply(secret("guessed", kafka.authority))
    installed(simulated, deployment, kafka.bootstrap, security=SCRAM, secrets={"kafka": SECRET})
    replicas = Replicas(simulated)
    eventually(lambda: condition(simulated, "Ready").get("status") == "False", WITHIN_S, 0.5)
    told_s, told = replicas.elapsed_s, condition(simulated, "Ready")["message"]
    assert replicas.now() == 1
    simulated.apply(secret(PASSWORD, kafka.authority))
    mended_s = replicas.elapsed_s
    replicas.become(3)
    eventually(lambda: condition(simulated, "Ready")["status"] == "True", WITHIN_S, 0.5)
    result["wrong_password"] = {
        "told_after_s": told_s,
        "told": told,
        "mended_after_s": mended_s,
        "replicas": replicas.seen,
    }
    assert "SASL" in told


def test_the_trigger_for_msk_is_one_that_keda_knows(
    simulated: Kubectl, kafka: SecuredKafka, deployment: Deployment
) -> None:
    keda = {**KEDA, "awsRegion": "eu-central-1"}
    installed(simulated, deployment, kafka.bootstrap, security=MSK, keda=keda)
    eventually(lambda: condition(simulated, "Ready").get("status") == "False", WITHIN_S, 0.5)
    # The broker is none of Amazon's. KEDA has read the trigger, and has asked it.
    assert "error creating kafka client" in condition(simulated, "Ready")["message"]
