"""`make cluster` and `make cluster-down`: a real Kubernetes with Kafka and S3 on this machine."""

from __future__ import annotations

import argparse
import shutil
import sys

import yaml

from deploy.dev.cluster import clusters, supplies
from deploy.dev.cluster.clusters import DEVELOPERS_SLOT, Cluster, folder_of
from deploy.dev.cluster.node.network import SLOTS
from deploy.dev.cluster.processes import Processes, all_run, stop_recorded
from deploy.dev.cluster.programs import program
from deploy.dev.services import create_topics
from deploy.dev.versitygw import VersityS3
from workers.embedded.cache import locked
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ServiceError

NAMESPACE = "clipstream"


def up() -> None:
    """Start the cluster, Kafka and S3, unless they run; say what to type next."""
    folder = folder_of(DEVELOPERS_SLOT)
    with locked(folder):
        if not (all_run(folder) and all_run(folder / "services")):
            _remove(DEVELOPERS_SLOT)
            cluster = clusters.start(DEVELOPERS_SLOT, detached=True)
            try:
                _prepare(cluster)
            except BaseException:
                _remove(DEVELOPERS_SLOT)
                print(f"logs are in {folder / 'logs'}", file=sys.stderr)
                raise
    print(
        f"""
A cluster with one node, KubeRay's operator, Kafka and an S3 server runs. Type next:

  export KUBECONFIG={folder / "kubeconfig"}
  export PATH={program("helm").parent}:{program("kubectl").parent}:$PATH
  kubectl get nodes
  helm install clipstream helm/clipstream --namespace {NAMESPACE} -f {folder / "values.yaml"}
  helm test clipstream --namespace {NAMESPACE}

`make cluster-down` removes all of it."""
    )


def down() -> None:
    """Remove the cluster with its logs, and what killed tests have left but for their logs."""
    for slot in SLOTS:
        folder = folder_of(slot)
        if folder.is_dir():
            # A running test holds its slot.
            with locked(folder, wait=slot == DEVELOPERS_SLOT) as held:
                if held:
                    ended = _remove(slot)
                    if slot == DEVELOPERS_SLOT:
                        shutil.rmtree(folder / "logs", ignore_errors=True)
                    if ended:
                        print(f"ended {len(ended)} processes, and removed what they had made")


def _remove(slot: int) -> list[int]:
    """End and remove all but the logs. Ids of the processes that were ended."""
    folder = folder_of(slot)
    ended = [*stop_recorded(folder / "services"), *clusters.remove(slot)]
    shutil.rmtree(folder / "services", ignore_errors=True)
    return ended


def _prepare(cluster: Cluster) -> None:
    """Start the services, give the namespace what pods mount, and write the chart's values."""
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
    create_topics(kafka.bootstrap)
    supplies.upload_images(store)
    supplies.create_namespace(cluster.kubectl.within(NAMESPACE), store)
    values = supplies.chart_values(kafka.bootstrap, store)
    (cluster.folder / "values.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


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
