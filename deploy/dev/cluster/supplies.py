"""What a release of the chart needs in a cluster: S3 with images, keys, values."""

from __future__ import annotations

import os
from typing import Any

from deploy.dev.cluster.kubectl import Kubectl, Object, restricted_namespace
from deploy.dev.cluster.node import mounted_code
from deploy.dev.cluster.node.image import CODE, IMAGE
from deploy.dev.cluster.programs import ROOT
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from workers.demo.shapes import demo_images
from workers.embedded.s3 import S3Server

S3_SECRET = "s3"  # noqa: S105 - its name

BUCKET = "images"
TEST_IMAGE = "test.png"
IMAGES = 20


def s3_secret(server: S3Server) -> Object:
    """The server's keys under the names that the chart expects."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": S3_SECRET},
        "stringData": {
            "access-key-id": server.access_key,
            "secret-access-key": server.secret_key,
        },
    }


def create_namespace(kubectl: Kubectl, server: S3Server) -> None:
    """Make the namespace of ``kubectl`` with the keys of S3 and the claims of the code in it."""
    kubectl.apply(restricted_namespace(kubectl.namespace))
    kubectl.apply(s3_secret(server))
    mounted_code.provide(kubectl)


def upload_images(server: S3Server) -> None:
    """Fill a bucket with the demo's images, and with the one that `helm test` classifies."""
    # The clients read keys from the environment, as the product's own do.
    os.environ["AWS_ACCESS_KEY_ID"] = server.access_key
    os.environ["AWS_SECRET_ACCESS_KEY"] = server.secret_key
    policy = S3Policy(endpoint=server.endpoint, region=server.region, allowed_buckets=(BUCKET,))
    admin = S3Admin(policy)
    admin.create_bucket(BUCKET)
    images = list(demo_images(1, IMAGES))
    for image in images:
        admin.put(BUCKET, image.key, image.body)
    admin.put(BUCKET, TEST_IMAGE, images[0].body)
    admin.close()


def chart_values(bootstrap: str, server: S3Server) -> dict[str, Any]:
    """Values of the chart for this cluster: the developer's code, the demo's model, small pods."""
    repository, _, tag = IMAGE.rpartition(":")
    small = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "settings": {
            "kafka": {"bootstrap_servers": [bootstrap]},
            "s3": {
                "endpoint": server.endpoint,
                "region": server.region,
                "allowed_buckets": [BUCKET],
            },
            "model": {"device": "cpu"},
            "workers": {"count": 1, "gpus_per_worker": 0, "grace_s": 20},
        },
        "labelSets": {"files": {"shapes": (ROOT / "workers/demo/labels.yaml").read_text()}},
        "secrets": {"s3": {"name": S3_SECRET}},
        "model": {"source": "baked", "directory": f"{CODE}/workers/demo/model"},
        "workers": {"resources": small},
        "driver": {"resources": small},
        "head": {"resources": small},
        "test": {"bucket": BUCKET, "key": TEST_IMAGE, "resources": small},
        "extraVolumes": mounted_code.volumes(),
        "extraVolumeMounts": mounted_code.mounts(),
    }
