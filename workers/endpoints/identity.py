"""Which worker an endpoint belongs to, and the labels that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STREAM = "stream"
"""The kind of a stream worker. In a discovery file, an entry without a kind is of a stream worker
too: an older release wrote no kind."""


@dataclass(frozen=True, slots=True)
class EndpointId:
    """Identity of an endpoint, the same after a restart: the kind of worker, the instance of the
    driver that runs the worker (``kafka.instance`` or the host name), and the worker's slot there.

    ``also`` are further labels that tell two endpoints apart, such as a stream's ``group``.
    """

    kind: str
    instance: str
    slot: int
    also: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Labels that the discovery file adds to the worker's series. The instance is called
        ``driver``, because Prometheus uses ``instance`` for the target's own address."""
        return {"kind": self.kind, "worker": str(self.slot), **self.also, "driver": self.instance}
