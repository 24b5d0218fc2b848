"""The HTTP application on Ray Serve, as the driver sees it."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from typing import Any

from pipeline.errors import Halt, Retry
from pipeline.ports import Encoder
from workers.cluster.actors import Cluster
from workers.cluster.serving.board import Board, Heard
from workers.cluster.serving.replica import NAMESPACE, Plan, Replica
from workers.cluster.start import cluster_address
from workers.serve.admission.keys import require_keys
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings

log = logging.getLogger(__name__)

APP = "clipstream"
"""Name of the application on Ray Serve. Other applications of a shared cluster stay as they are."""

BOARD = "board-"
"""How names of boards begin."""

ANSWER_S = 10.0
"""Longest wait for an answer of the board."""

FAR_ABOVE_OUR_OWN = 10_000
"""Requests that Ray Serve lets into one replica. Our own limits decide, which answer in JSON."""

HEALTH_PERIOD_S = 2.0
"""Between two health checks of a replica. Ray Serve replaces a replica after three that failed."""

HEALTH_TIMEOUT_S = 30.0


class ServeApplication:
    """One application, from its start to its end. Belongs to one thread."""

    def __init__(self, cluster: Cluster, load: Callable[[Settings], Encoder], *, most: int) -> None:
        """Start Ray Serve where it does not run yet, and the application. Does not wait for the
        application's replicas. ``most`` are the actors of this driver that may run at once.

        Raises:
            Retry: ``serve.not_started``: the proxy of a Ray Serve of our own was too slow. Nothing
                is left behind.
            Halt: ``serve.second_server``: another driver's application runs on the cluster.
                ``serve.not_started``: Ray Serve does not start there. ``serve.no_keys``: it runs
                already, listens where others reach it, and no keys are configured.
        """
        import ray

        settings = cluster.settings
        # Its lines would tell a person what this driver tells already. Ray Serve sets the level of
        # its logger anew, but leaves filters alone.
        logging.getLogger("ray.serve").addFilter(lambda line: line.levelno >= logging.WARNING)
        _require_alone()
        name = f"{BOARD}{uuid.uuid4().hex}"
        self._board: Any = (
            ray.remote(Board)
            .options(name=name, namespace=NAMESPACE, num_cpus=0, max_restarts=-1)
            .remote()
        )
        self._own = cluster_address() is None
        self._waits = True
        self.host, self.port = settings.serve.host, settings.serve.port
        try:
            self._start_serve(settings)
        except (RuntimeError, ray.exceptions.RayError) as error:
            # These errors say in many lines what happened where. The error itself comes last.
            (*_, last) = str(error).strip().splitlines() or [type(error).__name__]
            message = f"serve: Ray Serve's proxy does not start: {last}; look at Ray's logs"
            if not self._own:
                raise Halt("serve.not_started", message) from error
            self.close()
            raise Retry("serve.not_started", message) from error
        self._follow_what_runs(settings)
        self._run(settings, Plan(SentSettings.of(settings), cluster.reservation, most, name, load))

    def look(self, *, draining: bool) -> list[Heard]:
        """What the replicas said last; the same as before while the board does not answer.
        ``draining``: what they are told."""
        import ray

        try:
            heard: list[Heard] = ray.get(self._board.look.remote(draining), timeout=ANSWER_S)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            log.warning("the replicas' reports cannot be read: %s", error)
            return []
        return heard

    def status(self) -> tuple[str, str]:
        """Ray Serve's word for the application's state, and why."""
        from ray import serve

        application = serve.status().applications.get(APP)
        if application is None:
            return "NOT_STARTED", ""
        why = [application.message]
        why += [each.message for each in application.deployments.values()]
        return application.status.value, "; ".join(each for each in why if each)

    def abandon(self) -> None:
        """Let ``close`` wait for no request: the grace period is over."""
        self._waits = False

    def close(self) -> None:
        """End the application, and the Ray Serve of a Ray of our own. Requests in flight are
        answered first, within the grace period."""
        from ray import serve

        with contextlib.suppress(Exception):
            serve.delete(APP, _blocking=self._waits)
        if self._own:
            with contextlib.suppress(Exception):
                serve.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types

    # -- inside -----------------------------------------------------------------------------

    def _start_serve(self, settings: Settings) -> None:
        from ray import serve
        from ray.serve.config import HTTPOptions

        policy = settings.serve
        serve.start(
            proxy_location="HeadOnly" if self._own else "EveryNode",
            http_options=HTTPOptions(host=policy.host, port=policy.port),
            logging_config=_quiet(),
        )

    def _follow_what_runs(self, settings: Settings) -> None:
        """A Ray Serve that runs already keeps its address, whatever the settings say."""
        from ray.serve.context import _get_global_client

        client: Any = _get_global_client()
        runs = client.http_config
        policy = settings.serve
        if (runs.host, runs.port) == (policy.host, policy.port):
            return
        log.warning(
            "the cluster's Ray Serve runs already, and listens on %s:%d instead",
            runs.host,
            runs.port,
        )
        require_keys(policy.model_copy(update={"host": runs.host}))
        self.host, self.port = runs.host, runs.port

    def _run(self, settings: Settings, plan: Plan) -> None:
        from ray import serve

        policy, workers = settings.serve, settings.workers
        number: dict[str, Any] = {"num_replicas": policy.min_replicas}
        if policy.most > policy.min_replicas:
            number = {
                "autoscaling_config": {
                    "min_replicas": policy.min_replicas,
                    "max_replicas": policy.most,
                    # More than a full batch in flight waits for the model.
                    "target_ongoing_requests": settings.batch.largest,
                }
            }
        deployment: Any = serve.deployment(
            serve.ingress()(Replica),
            name="api",
            max_ongoing_requests=FAR_ABOVE_OUR_OWN,
            ray_actor_options={
                "num_gpus": workers.gpus_per_worker,
                "num_cpus": workers.cpus_per_worker,
            },
            graceful_shutdown_timeout_s=workers.grace_s,
            graceful_shutdown_wait_loop_s=0.2,
            health_check_period_s=HEALTH_PERIOD_S,
            health_check_timeout_s=HEALTH_TIMEOUT_S,
            **number,
        )
        serve.run_many(
            [serve.RunTarget(deployment.bind(plan), APP, "/", _quiet())],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )


def _require_alone() -> None:
    """Refuse to replace the application of another driver. The board of a driver that has crashed
    is gone, and its application is taken over."""
    from ray.util import list_named_actors

    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(BOARD):
            raise Halt(
                "serve.second_server",
                "serve: another `clipstream serve` runs on this Ray cluster; stop it, or give this "
                "one a cluster of its own",
            )


def _quiet() -> Any:
    """Ray Serve's own lines: errors alone. Its warnings tell of every start that takes seconds. The
    application has an access log of its own."""
    from ray.serve.schema import LoggingConfig

    return LoggingConfig(log_level="ERROR", enable_access_log=False)
