"""Workers as Ray actors. Only this room imports Ray.

The code works around measured traps of Ray 2.60. A threaded actor whose method runs ignores SIGTERM
unless it installs its own handler in its constructor. ``ray.kill`` and ``ray.shutdown`` run none of
the actor's clean-up, so every stop is cooperative first. Ray sets OMP_NUM_THREADS=1 for actors
without CPUs, so the encoder sets torch's threads explicitly.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import random
import signal
import socket
import threading
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, runtime_checkable

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.processors import available_processors
from pipeline.errors import Halt, Retry, WorkerLost
from workers.cluster import heap
from workers.cluster.drains import DrainNotices
from workers.cluster.fitting import fitted
from workers.cluster.handle import RayWorker
from workers.cluster.reservation import CPUS_WITHOUT_GPU, Reservation, reserve, workers_on
from workers.cluster.resources import address_here, living_nodes, resources_of_cluster
from workers.cluster.start import cluster_address, start_ray
from workers.endpoints.fleet import reached_from_here
from workers.health import Health
from workers.logs import configure_logging
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings, secrets_in_environment
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate

log = logging.getLogger(__name__)

SIGTERM_GRACE_SHARE = 0.8
"""Share of the grace period that an actor uses for its drain after SIGTERM."""


class Build(Protocol):
    """Builds a worker from the settings. Blocks, because the model is loaded. The caller closes the
    result."""

    def __call__(self, settings: Settings, slot: int) -> BuiltWorker: ...


class Worker(Protocol):
    """A worker of any kind. ``stop`` and ``health`` are called from other threads while ``run``
    runs."""

    def run(self) -> None: ...

    def stop(self, grace_s: float) -> None: ...

    def health(self) -> Health | None: ...


@runtime_checkable
class ToldWorker(Worker, Protocol):
    """A worker that takes messages of its driver, from another thread too."""

    def tell(self, message: Any) -> None: ...


class BuiltWorker(Protocol):
    """A worker with everything it owns."""

    @property
    def worker(self) -> Worker: ...

    @property
    def metrics_port(self) -> int | None:
        """The port of this machine on which the worker serves its metrics, if it does."""

    def close(self) -> None: ...


class WorkerActor:
    """A worker in a process of its own. A plain class; ``Cluster`` makes it an actor."""

    def __init__(self, build: Build, sent: SentSettings, slot: int) -> None:
        settings = sent.settings
        if settings.workers.gpus_per_worker == 0:
            # Ray hides no device from an actor that asked for none. CUDA reads this when it is
            # first used, and nothing has loaded torch in this process yet.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        configure_logging(settings.log, f"worker-{slot}")
        self._build = build
        self._sent = sent
        self._slot = slot
        self._worker: Worker | None = None
        self._metrics_port: int | None = None
        self._stopped = False
        # How the run ended. The first entry is reported.
        self._end: queue.SimpleQueue[Ended | BaseException] = queue.SimpleQueue()
        self._lock = threading.Lock()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def node(self) -> Node:
        """The node of this process."""
        import ray

        return Node(ray.get_runtime_context().get_node_id(), socket.gethostname())

    def run(self) -> Ended:
        """Build the worker and run it to its end, or until a stop while it is still being built.
        Never raises for an expected reason."""
        log.info(
            "worker %d starts, process %d on %s", self._slot, os.getpid(), socket.gethostname()
        )
        # A thread of its own, so that a stop does not wait for the model to load.
        threading.Thread(target=self._run_to_its_end, name="worker", daemon=True).start()
        end = self._end.get()
        if isinstance(end, BaseException):
            raise end
        return end

    def _run_to_its_end(self) -> None:
        try:
            self._end.put(self._built_and_run())
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._end.put(error)

    def _built_and_run(self) -> Ended:
        try:
            built = self._build(self._sent.resolved(), self._slot)
        except Halt as halt:
            return Ended(Fate.HALTED, halt.code, halt.message)
        except Retry as failure:
            return Ended(Fate.UNAVAILABLE, failure.code, failure.message)
        except ImportError as error:
            missing = Halt(
                "worker.package_missing",
                f"worker: {error}; install the same packages on every node",
            )
            return Ended(Fate.HALTED, missing.code, missing.message)
        try:
            with self._lock:
                if self._stopped:
                    return Ended(Fate.STOPPED)
                self._worker, self._metrics_port = built.worker, built.metrics_port
            heap.freeze()  # the process belongs to this worker only
            built.worker.run()
        except Halt as halt:
            log.error("%s", halt)  # noqa: TRY400 - an expected end, its message says it all
            return Ended(Fate.HALTED, halt.code, halt.message)
        except WorkerLost as lost:
            return Ended(Fate.DIED, lost.code, lost.message)
        finally:
            # The end of the run is reported even if closing fails. A halt that became an exception
            # of closing would count as a crash, and the worker would be restarted.
            try:
                built.close()
            except Exception:
                log.exception(
                    "worker %d: closing failed; its process ends all the same", self._slot
                )
        return Ended(Fate.STOPPED)

    def stop(self, grace_s: float) -> None:
        """Ask for a drain. A worker that is still being built has nothing to finish: the run ends
        at once, and the process ends with whatever is being built."""
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.stop(grace_s)
                return
        self._end.put(Ended(Fate.STOPPED))

    def health(self) -> Health | None:
        """None while the worker is being built."""
        worker = self._worker
        return worker.health() if worker is not None else None

    def listening(self) -> tuple[str, int] | None:
        """Address of this node as Ray's other nodes know it, and the port of the worker's metrics.
        None while the worker is being built."""
        port = self._metrics_port
        return None if port is None else (address_here(), port)

    def tell(self, message: object) -> None:
        """A message for the worker. One that is still being built has been told nothing."""
        if isinstance(self._worker, ToldWorker):
            self._worker.tell(message)

    def _on_sigterm(self, *_: object) -> None:
        # In a thread, because a signal handler must not wait for a lock that its own thread may
        # hold.
        grace_s = self._sent.settings.workers.grace_s * SIGTERM_GRACE_SHARE
        threading.Thread(target=self.stop, args=(grace_s,), daemon=True).start()


class Cluster:
    """A Ray cluster: the one that RAY_ADDRESS names, else a local one that ends with this
    object."""

    def __init__(self, settings: Settings, most: int | None = None) -> None:
        """One attempt to join or start Ray. ``most`` are the actors that the driver may run at
        once, each with what is reserved for a worker; ``workers.most`` if left out.

        Raises:
            Retry: it did not work this time.
            Halt: it cannot work.
        """
        policy = settings.workers
        cpus = CPUS_WITHOUT_GPU if policy.cpus_per_worker is None else policy.cpus_per_worker
        # Logical CPUs: as many as the workers ask for, so that a small machine can run them.
        self._most = policy.most if most is None else most
        # A Ray of our own hands its environment on to the workers. On a cluster of other machines
        # each has its own secrets.
        alone = cluster_address() is None
        with secrets_in_environment(settings) if alone else nullcontext():
            start_ray(max(available_processors(), math.ceil(self._most * cpus)))
        # Only now: Ray reads its environment, which ``start_ray`` prepares, when it is imported.
        import ray

        self.resources = resources_of_cluster()
        self.reservation = reserve(settings, self.resources)
        self.settings = self.reservation.resolve(settings).named()
        """The settings that workers get. They leave no decision about GPUs to the workers, and give
        all of them the driver's name, wherever they run."""
        # Made once, because Ray's head registers each such class, and the caller waits for it.
        self._actors = ray.remote(WorkerActor)
        # A Ray of our own has one node, which ends with the driver.
        self._notices = DrainNotices() if cluster_address() else None

    def launch(self, build: Build, slot: int, avoid: frozenset[str] = frozenset()) -> RayWorker:
        """Request a worker's actor. The actor gets a process as soon as Ray has room for it, on a
        node that is not in ``avoid`` (ids) if one has room."""
        policy = self.settings.workers
        if avoid and self._notices is not None:
            avoid |= self._notices.nodes
        actor = self._actors.options(
            num_gpus=policy.gpus_per_worker,
            num_cpus=policy.cpus_per_worker,
            # run() holds one thread for the worker's life; stop() and health() need others.
            max_concurrency=4,
            # The supervisor restarts workers, with a backoff and a limit, which Ray lacks.
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=_elsewhere(avoid, self.reservation) if avoid else "SPREAD",
        )
        wants = f"{policy.cpus_per_worker:g} CPU"
        if policy.gpus_per_worker:
            wants += f" and {policy.gpus_per_worker:g} GPU"
        fitting = partial(_build_fitted, build, self.reservation, self._most)
        worker = actor.remote(fitting, SentSettings.of(self.settings), slot)
        goes_in = (lambda _: None) if self._notices is None else self._notices.goes_in
        return RayWorker(worker, SystemClock(), wants, goes_in, self._reached)

    def _reached(self, node: Node, listening: tuple[str, int]) -> str | None:
        """Where the driver reaches what listens on a node."""
        return reached_from_here(self.settings.endpoints.host, listening, node.host)

    def close(self) -> None:
        import ray

        if self._notices is not None:
            self._notices.close()
        ray.shutdown()


def _elsewhere(avoid: frozenset[str], reserved: Reservation) -> Any:
    """Prefers a node that is not to be avoided. If no such node could have room, any node will
    do."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    others = [
        node.id
        for node, room in living_nodes().items()
        if node.id not in avoid and room.gpus >= reserved.gpus and room.cpus >= reserved.cpus
    ]
    if not others:
        return "SPREAD"
    # A soft preference that does not wait for a busy node. Ray's names for this are private.
    return NodeAffinitySchedulingStrategy(
        random.choice(others),  # noqa: S311 - which one does not matter
        soft=True,
        _spill_on_unavailable=True,
    )


def _build_fitted(
    build: Build, reserved: Reservation, most: int, settings: Settings, slot: int
) -> BuiltWorker:
    """Runs in the actor: fills settings that are left open with defaults for the actor's node."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    nodes = living_nodes()
    (room,) = (room for node, room in nodes.items() if node.id == here)
    workers = workers_on(room, list(nodes.values()), reserved, most)
    settings, told = fitted(settings, available_processors(), workers)
    log.info("worker %d: %s; Ray reserves %s", slot, told, reserved)
    return build(settings, slot)
