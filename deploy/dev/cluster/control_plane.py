"""etcd, the API server, the controllers and the scheduler of a real Kubernetes, as processes."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import ssl
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import yaml

from deploy.dev.cluster import keys, programs
from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.cluster.processes import Processes
from workers.embedded.processes import LOOPBACK, free_ports

SERVICES = "10.87.0.0/24"
"""Addresses of services, which nothing forwards: only headless services and `kubernetes` answer."""

PROBE_TIMEOUT_S = 2.0


class ControlPlane:
    """Listens on one address of this machine. All state is in ``processes.folder``.

    On loopback, any free ports will do. Elsewhere the API server takes port 443, the one that pods
    are told: the first address of ``services`` is the service `kubernetes`, and if that address is
    one of this machine's, pods reach the API server by it.
    """

    def __init__(
        self, processes: Processes, *, address: str = LOOPBACK, services: str = SERVICES
    ) -> None:
        self._processes = processes
        self._folder = processes.folder
        self._keys = self._folder / "keys"
        self._address = address
        self._services = services
        self.kubeconfig = self._folder / "kubeconfig"
        self.kubectl = Kubectl(self.kubeconfig)

    def start(self) -> None:
        """Start all and wait until each is healthy: seconds."""
        client, peer, api, controllers, scheduler = free_ports(5)
        if self._address != LOOPBACK:
            api = 443
        # Every start is a new cluster.
        shutil.rmtree(self._folder / "etcd", ignore_errors=True)
        keys.write_keys(self._keys)
        token = self._write_kubeconfig(api)
        self._start_etcd(client, peer)
        self._start_api_server(client, api, token)
        self._start_controllers(controllers)
        self._start_scheduler(scheduler)

    def _write_kubeconfig(self, port: int) -> str:
        token = secrets.token_hex(16)
        name = "clipstream"
        # The API server signs a certificate for itself, and writes it here, when it first starts.
        cluster = {
            "server": f"https://{self._address}:{port}",
            "certificate-authority": str(self._keys / "apiserver.crt"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }
        for file, text in (
            (self.kubeconfig, yaml.safe_dump(config)),
            (self._keys / "tokens.csv", f'{token},admin,admin,"system:masters"\n'),
        ):
            file.touch(mode=0o600)
            file.write_text(text)
        return token

    def _start_etcd(self, client: int, peer: int) -> None:
        program = programs.program("etcd")
        for_clients, for_peers = (f"http://{LOOPBACK}:{port}" for port in (client, peer))
        self._processes.start(
            "etcd",
            [
                *(program, "--data-dir", self._folder / "etcd", "--unsafe-no-fsync"),
                *("--listen-client-urls", for_clients, "--advertise-client-urls", for_clients),
                *("--listen-peer-urls", for_peers, "--initial-advertise-peer-urls", for_peers),
                *("--initial-cluster", f"default={for_peers}"),
            ],
        )

    def _start_api_server(self, etcd: int, port: int, token: str) -> None:
        program = programs.program("kube-apiserver")
        (self._keys / "apiserver.crt").unlink(missing_ok=True)
        (self._keys / "apiserver.key").unlink(missing_ok=True)
        file = self._keys.joinpath
        self._processes.start(
            "kube-apiserver",
            [
                *(program, "--etcd-servers", f"http://{LOOPBACK}:{etcd}"),
                *("--bind-address", self._address, "--advertise-address", self._address),
                *("--secure-port", str(port), "--cert-dir", self._keys),
                *("--service-cluster-ip-range", self._services),
                *("--service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
                *("--service-account-key-file", file("service-accounts.key")),
                *("--service-account-signing-key-file", file("service-accounts.key")),
                *("--token-auth-file", file("tokens.csv"), "--authorization-mode", "Node,RBAC"),
                *("--kubelet-client-certificate", file("kubelet-client.crt")),
                *("--kubelet-client-key", file("kubelet-client.key")),
                # Else the API server looks the node's name up.
                *("--kubelet-preferred-address-types", "InternalIP"),
                # Extensions of the API, such as KEDA's metrics.
                *("--requestheader-client-ca-file", file(keys.AUTHORITY)),
                *("--requestheader-username-headers", "X-Remote-User"),
                *("--requestheader-group-headers", "X-Remote-Group"),
                *("--requestheader-extra-headers-prefix", "X-Remote-Extra-"),
                *("--proxy-client-cert-file", file("front-proxy.crt")),
                *("--proxy-client-key-file", file("front-proxy.key")),
            ],
            lambda: healthy(self._address, port, "/readyz", token),
        )

    def _start_controllers(self, port: int) -> None:
        program = programs.program("kube-controller-manager")
        self._processes.start(
            "kube-controller-manager",
            [
                *(program, *self._identity(port), "--use-service-account-credentials"),
                *("--service-account-private-key-file", self._keys / "service-accounts.key"),
                *("--root-ca-file", self._keys / "apiserver.crt"),
                # Else it makes one outside its folder.
                *("--flex-volume-plugin-dir", self._folder / "volume-plugins"),
                # A claim that comes before its volume would wait for 15 s.
                "--pvclaimbinder-sync-period=1s",
            ],
            lambda: healthy(LOOPBACK, port, "/healthz"),
        )

    def _start_scheduler(self, port: int) -> None:
        program = programs.program("kube-scheduler")
        self._processes.start(
            "kube-scheduler",
            [program, *self._identity(port)],
            lambda: healthy(LOOPBACK, port, "/healthz"),
        )

    def _identity(self, port: int) -> tuple[str | Path, ...]:
        return (
            *("--kubeconfig", self.kubeconfig),
            *("--authentication-kubeconfig", self.kubeconfig),
            *("--authorization-kubeconfig", self.kubeconfig),
            *("--bind-address", LOOPBACK, "--secure-port", str(port)),
            *("--cert-dir", self._keys, "--leader-elect=false"),
        )


def healthy(address: str, port: int, path: str, token: str = "") -> bool:
    """Whether a server with a certificate of its own says that it is well."""
    context = ssl.create_default_context()
    # It signs its certificate when it starts. Nothing is told to it but a token made for it.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(address, port, timeout=PROBE_TIMEOUT_S, context=context)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.closing(connection):
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
