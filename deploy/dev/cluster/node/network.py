"""The node's network: a bridge of its own, and the API server's address on it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.dev.cluster.node.requirements import need
from workers.embedded.processes import ServiceError

SLOTS = range(8)
"""As many real clusters can run on one machine at a time."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network of the cluster in a slot. Its addresses are private, and rarely taken.

    Pods reach this machine by ``gateway``: what they shall reach listens there. They reach no other
    machine. No two slots share an address.
    """

    slot: int

    @property
    def bridge(self) -> str:
        return f"clipstream{self.slot}"

    @property
    def gateway(self) -> str:
        return f"10.88.{self._number}.1"

    @property
    def pods(self) -> str:
        return f"10.88.{self._number}.0/24"

    @property
    def services(self) -> str:
        return f"10.87.{self._number}.0/24"

    @property
    def api(self) -> str:
        """The first address of the services, which Kubernetes gives to its own API server."""
        return f"10.87.{self._number}.1"

    @property
    def _number(self) -> int:
        """Third part of every address."""
        return 77 + self.slot

    @property
    def exists(self) -> bool:
        """Whether the bridge is there."""
        return Path("/sys/class/net", self.bridge).exists()

    @staticmethod
    def any() -> bool:
        """Whether the network of any slot is there."""
        return any(Network(slot).exists for slot in SLOTS)

    def create(self) -> None:
        """Make the bridge, and give it both addresses. What an earlier cluster left is replaced."""
        self.remove()
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self.gateway}/24", "dev", self.bridge)
        _ip("address", "add", f"{self.api}/32", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def remove(self) -> None:
        """Remove the bridge with all that is plugged into it. Idempotent."""
        if self.exists:
            _ip("link", "delete", self.bridge)

    def write_plugins(self, folder: Path) -> None:
        """Tell containerd how to plug a pod in: its configuration goes to ``folder/net.d``."""
        subnet = [[{"subnet": self.pods, "gateway": self.gateway}]]
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": subnet,
                "routes": [{"dst": self.services}],
                "dataDir": str(folder / "addresses"),
            },
        }
        plugins = {"cniVersion": "1.0.0", "name": "clipstream", "plugins": [bridge]}
        (folder / "net.d").mkdir(parents=True, exist_ok=True)
        (folder / "net.d/10-bridge.conflist").write_text(json.dumps(plugins))


def _ip(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - the command is ours, no shell
        [need("ip"), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
