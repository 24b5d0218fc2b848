"""A RayCluster of KubeRay's operator on the real node: the stream works in its pods."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.kubernetes.ray_cluster import ray_cluster
from tests.rigs.kubernetes.stream import open_stream
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.component, pytest.mark.kubelet, pytest.mark.timeout(600)]

REFERENCES = 60
READY_S = 240.0
"""From the object's creation until all pods are Ready: 30 s, and longer on a busy machine."""


def test_a_ray_cluster_classifies_a_topic(
    real: Kubectl, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> None:
    with open_stream(real, kafka_for_pods, s3_for_pods) as stream:
        real.apply(ray_cluster("ray", ray_version=version("ray")))
        real.wait("jsonpath={.status.state}=ready", "raycluster/ray", within_s=READY_S)
        real.wait("condition=Ready", "pod", "-l", "ray.io/cluster=ray", within_s=READY_S)
        stream.send(REFERENCES)
        stream.until_all()
        assert stream.dead_letters == 0
