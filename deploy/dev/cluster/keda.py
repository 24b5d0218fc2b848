"""KEDA beside a cluster: its operator and its metrics server, as processes.

The way of a number: the operator asks Kafka for the lag; the metrics server asks the operator; the
API server passes what the metrics server says on to the controllers, as an extension of its API.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.dev import certificates, go_programs
from deploy.dev.cluster import programs
from deploy.dev.cluster.clusters import Cluster
from deploy.dev.cluster.kubectl import Object, has_condition
from deploy.dev.cluster.operators import NO_PORT
from deploy.dev.cluster.processes import Processes
from workers.embedded.processes import LOOPBACK, free_ports

NAMESPACE = "default"
HOST = "localhost"
"""The metrics server's, as a Service names it: an address cannot stand there."""

SERVICE = "keda-metrics"
EXTENSION = "v1beta1.external.metrics.k8s.io"

PROBE_TIMEOUT_S = 2.0
VALID_DAYS = 365


@contextmanager
def beside(cluster: Cluster) -> Iterator[None]:
    """KEDA for the cluster, in all namespaces, until the block ends.

    The first time builds it, which takes 770 s of processor time. All that has a ScaledObject must
    have lost it before the block ends: nobody else completes the deletion.
    """
    operator, adapter = go_programs.built(programs.ON_DEMAND)
    processes = Processes(cluster.folder / "keda")
    keys = processes.folder / "keys"
    authority = _write_keys(keys)
    for_adapter, for_api_server = free_ports(2)
    environment = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "WATCH_NAMESPACE": "",  # all
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
    }
    extension = _extension(for_api_server, authority)
    try:
        processes.start(
            "keda",
            [
                *(operator, "--cert-dir", keys),
                *("--metrics-service-bind-address", f"{LOOPBACK}:{for_adapter}"),
                *("--metrics-bind-address", NO_PORT, "--health-probe-bind-address", NO_PORT),
                "--enable-webhook-patching=false",
                "--enable-apiservice-patching=false",
            ],
            lambda: _listens(for_adapter),
            environment,
        )
        cluster.kubectl.apply(*extension)
        processes.start(
            "keda-adapter",
            [
                *(adapter, "--bind-address", LOOPBACK, "--secure-port", str(for_api_server)),
                # It can be put on another port, but not on another address.
                *("--port", "0"),
                *("--cert-dir", keys, "--tls-cert-file", keys / "tls.crt"),
                *("--tls-private-key-file", keys / "tls.key"),
                *("--metrics-service-address", f"{HOST}:{for_adapter}"),
                *("--lister-kubeconfig", cluster.kubeconfig),
                *("--authentication-kubeconfig", cluster.kubeconfig),
                *("--authorization-kubeconfig", cluster.kubeconfig),
            ],
            lambda: has_condition(cluster.kubectl.get("apiservice", EXTENSION), "Available"),
            environment,
        )
        yield
    finally:
        # An extension that does not answer keeps every namespace from being deleted.
        kinds = (f"service/{SERVICE}", f"apiservice/{EXTENSION}")
        cluster.kubectl.within(NAMESPACE)("delete", "--ignore-not-found", *kinds)
        processes.stop()


def _extension(port: int, authority: bytes) -> tuple[Object, Object]:
    """How the API server finds the metrics server, which has no pod: by the name of its host."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": HOST, "ports": [{"port": port}]},
    }
    extension = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": EXTENSION},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode(authority).decode(),
            "service": {"name": SERVICE, "namespace": NAMESPACE, "port": port},
        },
    }
    return service, extension


def _write_keys(folder: Path) -> bytes:
    """Write what both programs know each other by, under the names that KEDA wants; return the
    authority's certificate."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    issuer, (signer, key) = "keda", (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = (HOST, f"{SERVICE}.{NAMESPACE}.svc")
    served = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    authority = certificates.certificate(
        issuer, signer, issuer, signer, certificates.AUTHORITY, days=VALID_DAYS
    )
    signed = certificates.certificate(SERVICE, key, issuer, signer, served, days=VALID_DAYS)
    (folder / "tls.key").touch(mode=0o600)
    for name, written in (
        ("ca.crt", authority),
        ("tls.crt", signed),
        ("tls.key", certificates.private_pem(key)),
    ):
        (folder / name).write_bytes(written)
    return authority


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True
