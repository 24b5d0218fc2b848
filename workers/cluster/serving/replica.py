"""A replica: one model behind HTTP, in a process of its own that Ray Serve starts and replaces."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import metrics
from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.processors import available_processors
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt, Retry, WorkerLost
from pipeline.ports import Encoder
from pipeline.retry import wait_s
from workers.backoff import BROKER
from workers.cluster import heap
from workers.cluster.fitting import fitted
from workers.cluster.reservation import Reservation, workers_on
from workers.cluster.resources import address_here, living_nodes
from workers.cluster.serving.board import REPORT_S, Report, State
from workers.cluster.serving.places import endpoint_of
from workers.cluster.serving.view import AllReplicas
from workers.endpoints.discovery import update_discovery
from workers.endpoints.worker import MetricsEndpoint
from workers.logs import configure_logging
from workers.node_checks import require_node
from workers.serve.admission.asgi import Application
from workers.serve.app import build_app
from workers.serve.live.cluster import ClusterView
from workers.serve.services import Services
from workers.serve.wiring import serving
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings
from workers.stages import tell_model

log = logging.getLogger(__name__)

NAMESPACE = "clipstream"
"""Ray's namespace of boards."""

ANSWER_S = 5.0
"""Longest wait for the board's answer."""

HALTED_S = 30.0
"""How long a replica that cannot start waits before it ends and Ray Serve starts another: the
driver decides first what to do, and a fault of one node does not keep the node busy."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What each replica gets. ``most`` are the actors of this driver that may run at once.
    ``board`` is the name of the board. ``load`` returns the model."""

    sent: SentSettings
    reserved: Reservation
    most: int
    board: str
    load: Callable[[Settings], Encoder]

    @property
    def settings(self) -> Settings:
        """Without their secrets."""
        return self.sent.settings


class Replica:
    """Ray Serve makes an object of this class in the replica's process, and calls all methods on
    one event loop. ``application`` makes it a deployment."""

    def __init__(self, plan: Plan) -> None:
        from ray import serve

        if plan.settings.workers.gpus_per_worker == 0:
            # Ray hides no device from an actor that asked for none. CUDA reads this when it is
            # first used, and nothing has loaded torch in this process yet.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._plan = plan
        self._id = serve.get_replica_context().replica_id.unique_id
        configure_logging(plan.settings.log, f"replica-{self._id}")
        self._state = State.STARTING
        self._end: Halt | WorkerLost | None = None
        self._model = ""
        self._services: Services | None = None
        self._own_view: ClusterView | None = None
        self._call_age_s: Callable[[], float] = float
        self._slot: int | None = None
        self._listening: tuple[str, int] | None = None
        self._board: Any = None
        self._owned = AsyncExitStack()

    async def __serve_build_asgi_app__(self) -> Application:
        """Called by Ray Serve once, on the loop on which it calls the application later."""
        log.info("replica %s starts, process %d on %s", self._id, os.getpid(), _host())
        await self._join()
        reporting = asyncio.create_task(self._report_on())
        self._owned.callback(reporting.cancel)
        failures = 0
        while True:
            try:
                application = await self._built()
            except Halt as halt:
                await self._halted(halt)
            except ImportError as error:
                await self._halted(
                    Halt(
                        "worker.package_missing",
                        f"replica: {error}; install the same packages on every node",
                    )
                )
            except Retry as failure:
                failures += 1
                seconds = wait_s(failures, BROKER, random.random)
                log.warning("%s; trying again in %.1f s", failure, seconds)
                await asyncio.sleep(seconds)
            else:
                self._state = State.READY
                await self._report()
                return application

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds. It replaces a replica for which this raises."""
        services = self._services
        if services is None:
            return
        failure = services.standing.failure
        age_s = self._call_age_s()
        if failure is None and age_s > self._plan.settings.workers.stall_timeout_s:
            failure = WorkerLost(
                "worker.stalled", f"replica: its model has worked on one batch for {age_s:.0f} s"
            )
        if failure is not None:
            self._state, self._end = State.FAILED, failure
            raise RuntimeError(str(failure))

    async def __del__(self) -> None:
        """Called by Ray Serve at an orderly end, once nothing is in flight."""
        if self._state in (State.STARTING, State.READY):
            self._state = State.ENDED
        with contextlib.suppress(Exception):
            await self._report()
        await self._owned.aclose()

    # -- the parts --------------------------------------------------------------------------

    async def _built(self) -> Application:
        plan = self._plan
        settings, told = self._fitted()
        log.info("replica %s: %s; Ray reserves %s", self._id, told, plan.reserved)
        async with AsyncExitStack() as owned:
            meter = PrometheusMeter(metrics.SERVE_REPLICA)
            self._listen(settings, meter, owned)
            await asyncio.to_thread(require_node, settings, must_read=False)
            loaded = await asyncio.to_thread(plan.load, settings)
            encoder = WatchedEncoder(loaded, SystemClock())
            services = await owned.enter_async_context(serving(settings, encoder, meter, _replicas))
            model = encoder.model
            tell_model(meter, model)
            heap.freeze()  # the process belongs to this replica only
            self._model = f"{model.name} in {model.precision}"
            self._call_age_s = encoder.call_age_s
            self._own_view = services.cluster
            if self._board is not None:
                services = replace(services, cluster=AllReplicas(services.cluster, self._board))
            self._services = services
            self._owned.push_async_callback(owned.pop_all().aclose)
        return build_app(services, sets_request_id=False)

    def _fitted(self) -> tuple[Settings, str]:
        """Settings with defaults for this node."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        nodes = living_nodes()
        (room,) = (room for node, room in nodes.items() if node.id == here)
        count = workers_on(room, list(nodes.values()), self._plan.reserved, self._plan.most)
        return fitted(self._plan.sent.resolved(), available_processors(), count)

    def _listen(self, settings: Settings, meter: PrometheusMeter, owned: AsyncExitStack) -> None:
        """Expose metrics: replica n of a host n ports above the first."""
        policy = settings.endpoints
        port = 0 if self._slot is None else settings.serve.metrics_port
        identity = endpoint_of(settings, _host(), self._slot or 0)
        endpoint = MetricsEndpoint(
            meter.registry, policy.model_copy(update={"metrics_port": port}), identity
        )
        if policy.discovery_file is not None:
            owned.callback(partial(update_discovery, Path(policy.discovery_file), identity, None))
        owned.callback(endpoint.close)
        self._listening = (address_here(), endpoint.port)
        log.info("metrics on port %d", endpoint.port)

    async def _halted(self, halt: Halt) -> None:
        self._state, self._end = State.HALTED, halt
        await self._report()
        await asyncio.sleep(HALTED_S)
        raise halt

    # -- the board --------------------------------------------------------------------------

    async def _join(self) -> None:
        import ray

        try:
            self._board = ray.get_actor(self._plan.board, NAMESPACE)
            self._slot = await asyncio.wait_for(self._board.join.remote(self._said()), ANSWER_S)
        except (ValueError, ray.exceptions.RayError, TimeoutError) as error:
            # A driver that crashed on a cluster of other people's leaves its replicas running.
            log.warning("the driver cannot be told how this replica is: %s", error)

    async def _report_on(self) -> None:
        while True:
            await self._report()
            await asyncio.sleep(REPORT_S)

    async def _report(self) -> None:
        import ray

        if self._board is None or self._slot is None:
            return
        try:
            said = replace(self._said(), row=await self._row())
            draining = await asyncio.wait_for(self._board.report.remote(said, self._slot), ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.debug("the board does not answer: %s", error)
            return
        if draining and self._services is not None:
            self._services.standing.draining = True

    async def _row(self) -> Mapping[str, Any]:
        if self._own_view is None:
            return {}
        (row,) = await self._own_view.replicas()
        return row

    def _said(self) -> Report:
        services, end = self._services, self._end
        return Report(
            self._id,
            _host(),
            self._state,
            pid=os.getpid(),
            model=self._model,
            in_flight=services.standing.in_flight if services else 0,
            draining=services is not None and services.standing.draining,
            code=end.code if end else "",
            message=end.message if end else "",
            listening=self._listening,
        )


def _replicas() -> int:
    """How many replicas share the load."""
    from ray import serve

    return max(1, serve.get_replica_context().world_size)


def _host() -> str:
    return socket.gethostname()
