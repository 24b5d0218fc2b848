"""Whether a replica may be asked."""

from __future__ import annotations

from pipeline.errors import Halt, WorkerLost


class Standing:
    """Whether this replica may be asked. Set from any thread."""

    def __init__(self) -> None:
        self.draining = False
        """Whether new requests are refused because the replica ends."""
        self.failure: Halt | WorkerLost | None = None
        """Why the replica can answer nothing any more."""
        self.in_flight = 0
        """Requests that are not answered yet. Those for public pages are left out, and those that
        came while the replica drained. The event loop of the application alone changes it."""

    @property
    def ready(self) -> bool:
        return not self.draining and self.failure is None
