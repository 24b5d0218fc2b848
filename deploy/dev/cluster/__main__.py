"""`make cluster` and `make cluster-down`: a real Kubernetes with Kafka and S3 on this machine."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from deploy.dev.cluster import clusters, supplies
from deploy.dev.cluster.clusters import DEVELOPERS_SLOT, Cluster, folder_of
from deploy.dev.cluster.node.network import SLOTS
from deploy.dev.cluster.processes import Processes, stop_recorded
from deploy.dev.cluster.programs import program
from deploy.dev.versitygw import VersityS3
from workers.embedded.cache import locked
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ServiceError

NAMESPACE = "clipstream"


def up() -> None:
    """Start the cluster, Kafka and S3, and say what to type next."""
    folder = folder_of(DEVELOPERS_SLOT)
    with locked(folder):
        cluster = clusters.start(DEVELOPERS_SLOT, detached=True)
        try:
            values = _prepare(cluster)
        except BaseException:
            down()
            raise
    print(
        f"""
A cluster with one node, KubeRay's operator, Kafka and an S3 server runs. Type next:

  export KUBECONFIG={cluster.kubeconfig}
  export PATH={program("helm").parent}:{program("kubectl").parent}:$PATH
  kubectl get nodes
  helm install clipstream helm/clipstream --namespace {NAMESPACE} -f {values}
  helm test clipstream --namespace {NAMESPACE}

`make cluster-down` removes all of it."""
    )


def down() -> None:
    """Remove the cluster, and what tests that were killed have left."""
    for slot in SLOTS:
        folder = folder_of(slot)
        if not folder.is_dir():
            continue
        with locked(folder, wait=False) as held:
            if held or slot == DEVELOPERS_SLOT:
                stop_recorded(folder / "services")
                ended = clusters.remove(slot)
                shutil.rmtree(folder / "services", ignore_errors=True)
                if ended:
                    print(f"ended {len(ended)} processes; logs are in {folder / 'logs'}")


def _prepare(cluster: Cluster) -> Path:
    """Start the services, give the namespace what pods mount. A file of the chart's values."""
    folder = cluster.folder / "services"
    record = Processes(folder, detached=True).record
    kafka = EmbeddedKafka(
        folder / "kafka", cluster.folder / "logs", address=cluster.address, detached=True
    )
    kafka.start()
    record(kafka.pid)
    store = VersityS3(
        folder / "s3", cluster.folder / "logs", address=cluster.address, detached=True
    )
    store.start()
    record(store.pid)
    supplies.create_topics(kafka.bootstrap)
    supplies.upload_images(store)
    supplies.create_namespace(cluster.kubectl.within(NAMESPACE), store)
    values = supplies.chart_values(kafka.bootstrap, store)
    file = cluster.folder / "values.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy.dev.cluster", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    try:
        if parser.parse_args().command == "up":
            up()
        else:
            down()
    except ServiceError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
