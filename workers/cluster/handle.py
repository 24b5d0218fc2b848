"""The supervisor's handle of a worker that is a Ray actor."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any

from pipeline.ports import Clock
from workers.health import Health, Heard
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate

log = logging.getLogger(__name__)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RayWorker:
    """Implements ``slot.WorkerHandle`` with an actor."""

    def __init__(
        self,
        actor: Any,
        clock: Clock,
        wants: str,
        goes_in: Callable[[str], float | None] = lambda _: None,
        reached: Callable[[Node, tuple[str, int]], str | None] = lambda *_: None,
    ) -> None:
        """``goes_in`` gives the seconds until a node (id) goes away; see ``DrainNotices``.
        ``reached`` gives the address at which the driver reaches a port of a node."""
        self._actor = actor
        self._clock = clock
        self._wants = wants
        self._goes_in = goes_in
        self._reached = reached
        # Answered once Ray has found room and the process runs.
        self._placed = actor.node.remote()
        self._node: Node | None = None
        self._run: Any = None
        self._health_call: Any = None
        self._heard: Heard | None = None
        self._listening_call: Any = None
        self._listening_read = False
        self._metrics_at: str | None = None

    @property
    def wants(self) -> str:
        return self._wants

    def node(self) -> Node | None:
        import ray

        if self._node is None and _ready(self._placed):
            # If there will be no node, ``ended`` says why.
            with contextlib.suppress(ray.exceptions.RayError):
                self._node = ray.get(self._placed)
        return self._node

    def node_goes_in(self) -> float | None:
        node = self.node()
        return self._goes_in(node.id) if node else None

    def begin(self) -> None:
        self._run = self._actor.run.remote()

    def ended(self) -> Ended | None:
        import ray

        call = self._placed if self._run is None else self._run
        if not _ready(call):
            return None
        try:
            end = ray.get(call)
        except ray.exceptions.RayActorError as error:
            # Also raised if Ray has only lost contact. Then nothing watches the process any more.
            self.kill()
            return Ended(Fate.DIED, "worker.died", _told(error))
        except ray.exceptions.RayError as error:
            # The run failed, but its process goes on with its memory and GPU.
            self.kill()
            return Ended(Fate.DIED, "worker.failed", str(error))
        if self._run is None:
            return None
        self.kill()
        ended: Ended = end
        return ended

    def health(self) -> Heard | None:
        import ray

        # One call at a time, because calls to an actor that does not answer would pile up.
        if self._health_call is None:
            self._health_call = self._actor.health.remote()
        elif _ready(self._health_call):
            try:
                health: Health | None = ray.get(self._health_call)
            except ray.exceptions.RayError:
                # ``ended`` says more, at the next look.
                log.debug("a worker does not answer")
            else:
                self._heard = Heard(health, self._clock.monotonic()) if health else None
            self._health_call = None
        return self._heard

    def metrics_at(self) -> str | None:
        import ray

        if self._listening_call is None:
            # The worker knows its port once it has been built.
            if self._heard is not None:
                self._listening_call = self._actor.listening.remote()
        elif not self._listening_read and self._node is not None and _ready(self._listening_call):
            # Once, because a worker that cannot be reached from here would be read at every look.
            self._listening_read = True
            # A worker that has ended is asked no more; ``ended`` says more about it.
            with contextlib.suppress(ray.exceptions.RayError):
                listening = ray.get(self._listening_call)
                self._metrics_at = listening and self._reached(self._node, listening)
        return self._metrics_at

    def tell(self, message: object) -> None:
        self._actor.tell.remote(message)

    def stop(self, grace_s: float) -> None:
        self._actor.stop.remote(grace_s)

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)


def _told(error: Exception) -> str:
    """The line that says what happened: the first, or the last if a process did not start."""
    lines = _COLOURS.sub("", str(error)).strip().splitlines()
    return lines[-1 if "creation task" in lines[0] else 0].strip()


def _ready(call: Any) -> bool:
    import ray

    done, _ = ray.wait([call], timeout=0)
    return bool(done)
