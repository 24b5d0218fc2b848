"""`clipstream serve`: answer HTTP requests until stopped."""

from __future__ import annotations

import contextlib
import http.client
import logging
import math
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt
from pipeline.halts import is_of_input
from pipeline.metrics import DRIVER_METRICS
from pipeline.ports import Encoder
from workers.cluster.actors import Cluster
from workers.cluster.serving.application import ServeApplication
from workers.cluster.serving.board import Heard
from workers.cluster.serving.environment import serve_environment, uses_haproxy
from workers.cluster.serving.places import replica_places
from workers.cluster.serving.watch import Verdict, Watch
from workers.cluster.start import cluster_address, patiently
from workers.commands.serving.beside import StreamBeside, workers_listed
from workers.commands.serving.sample import sample_png
from workers.commands.signals import signals
from workers.commands.stream import check_stream, stream_group, supervisor_on
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.fleet import Place
from workers.serve.admission.keys import require_keys
from workers.serve.live.live import with_stream_named
from workers.settings.loading import Settings
from workers.stages import load_encoder
from workers.supervise.certificates import Certificates
from workers.supervise.supervisor import ExitCode

log = logging.getLogger(__name__)

TICK_S = 0.25
"""Between two looks at the replicas."""

STATUS_S = 2.0
"""Between two questions to Ray Serve."""

READY_ANSWER_S = 5.0

PROGRESS_S = 10.0
"""Between two lines that say what the start waits for."""

HEALTHY_S = 60.0
"""If the last look at the replicas is older than this, the driver is stuck."""

UNHEARD_S = 5.0
"""While draining, a replica that reports nothing for so long has nothing in flight any more."""


def run_serve(
    settings: Settings,
    tell: Callable[[str], object],
    load: Callable[[Settings], Encoder] = load_encoder,
    *,
    with_stream: bool = False,
) -> ExitCode:
    """Run the HTTP application on Ray Serve until a signal, a halt, or a crash loop. ``tell``
    prints a line for a person. ``load`` returns the model, in each replica. ``with_stream``: the
    stream's workers run beside it.

    Raises:
        Halt: this driver cannot start. Wrong label sets, an open address without keys and a taken
            port are found before Ray starts.
        Retry: the driver's own Ray did not start.
    """
    require_keys(settings.serve)
    load_label_sets(settings.label_sets.paths)
    if with_stream:
        check_stream(settings)
        settings = with_stream_named(settings)
    haproxy = uses_haproxy(settings.serve)
    alone = cluster_address() is None
    if alone:
        _require_port(settings)
    rng = random.Random()  # noqa: S311 - jitter, no secret
    stopping = threading.Event()
    most = settings.serve.most + (settings.workers.most if with_stream else 0)
    with contextlib.ExitStack() as owned:
        owned.enter_context(signals(stopping))
        owned.enter_context(serve_environment(settings.serve, alone=alone))
        if with_stream and alone:
            settings = owned.enter_context(workers_listed(settings))
        group = owned.enter_context(stream_group(settings, stopping, rng)) if with_stream else None
        if stopping.is_set():
            return ExitCode.OK
        log.info("starting Ray Serve with %s", "HAProxy" if haproxy else "its proxy in Python")
        joined = patiently(partial(Cluster, settings, most), stopping.wait, SystemClock(), rng)
        if joined is None:
            return ExitCode.OK
        cluster = owned.enter_context(contextlib.closing(joined))
        log.info("%d replicas, each on %s", settings.serve.min_replicas, cluster.reservation)
        if cluster.reservation.warning:
            log.warning("%s", cluster.reservation.warning)
        application = patiently(
            partial(ServeApplication, cluster, load, most=most), stopping.wait, SystemClock(), rng
        )
        if application is None:
            return ExitCode.OK
        owned.enter_context(contextlib.closing(application))
        meter = PrometheusMeter(DRIVER_METRICS)
        stream = None
        if group is not None:
            supervisor = supervisor_on(cluster, settings, group, rng)
            stream = StreamBeside(supervisor, stopping, meter)
            owned.callback(stream.close)
        code = Driver(settings, application, stopping, stream, tell).run(meter)
        return code or (stream.close() if stream is not None else code)


class Driver:
    """Watches the application, and ends it in order."""

    def __init__(
        self,
        settings: Settings,
        application: ServeApplication,
        stopping: threading.Event,
        stream: StreamBeside | None,
        tell: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._application = application
        self._stopping = stopping
        self._stream = stream
        self._tell = tell
        self._watch = Watch(settings.workers, SystemClock())
        self._replicas: Sequence[Heard] = ()
        self._looked_at = self._asked_at = self._began = time.monotonic()
        self._announced = False
        self._told_at = self._began

    @property
    def ready(self) -> bool:
        """Whether a replica answers requests, and the stream's workers take in work."""
        return self._answers and (self._stream is None or self._stream.ready)

    @property
    def _answers(self) -> bool:
        return not self._stopping.is_set() and any(each.ready for each in self._replicas)

    @property
    def _healthy(self) -> bool:
        turns = time.monotonic() - self._looked_at < HEALTHY_S
        return turns and (self._stream is None or self._stream.healthy)

    @property
    def lines(self) -> Sequence[str]:
        """The replicas and the places for workers, for people."""
        replicas = [_line(each) for each in self._replicas if each.lives]
        return [*replicas, *(self._stream.lines if self._stream is not None else ())]

    def run(self, meter: PrometheusMeter) -> ExitCode:
        """Until the end. Probes and scrapes are answered meanwhile."""
        endpoint = HealthEndpoint(
            self._settings.endpoints,
            healthy=lambda: self._healthy,
            standing=lambda: self,
            registry=meter.registry,
            places=self._places,
        )
        certificates = Certificates(self._settings, meter)
        with contextlib.closing(endpoint), contextlib.closing(certificates):
            log.info("health and the driver's metrics on port %d", endpoint.port)
            while not self._stopping.wait(TICK_S):
                self._look(draining=False)
                verdict = self._watch.look(self._replicas) or self._asked_serve()
                if verdict is not None:
                    log.error("%s: %s", verdict.code, verdict.message)
                    return _exit_code(verdict)
                if not self._announced:
                    self._announce_when_ready()
            self._drain()
            if self._stream is not None:
                # The head of a RayCluster stays as long as this port is open. Workers need it.
                self._stream.close()
        return ExitCode.OK

    def _places(self) -> Sequence[Place]:
        """The replicas and the places for workers, with the addresses of their metrics. Any thread
        may ask."""
        return [
            *replica_places(self._settings, self._replicas),
            *(self._stream.places(self._settings) if self._stream is not None else ()),
        ]

    def _look(self, *, draining: bool) -> None:
        self._replicas = self._application.look(draining=draining)
        self._looked_at = time.monotonic()

    def _asked_serve(self) -> Verdict | None:
        if time.monotonic() - self._asked_at < STATUS_S:
            return None
        self._asked_at = time.monotonic()
        status, message = self._application.status()
        if status == "DEPLOY_FAILED":
            return Verdict(ExitCode.CRASH_LOOP, "serve.crash_loop", f"serve: {message}")
        return None

    def _announce_when_ready(self) -> None:
        now = time.monotonic()
        if self._answers and (
            cluster_address() is not None
            or _answers(self._application.host, self._application.port)
        ):
            self._announced = True
            model = next(each.report.model for each in self._replicas if each.ready)
            for line in self._greeting(model, now - self._began):
                self._tell(line)
        elif now - self._told_at >= PROGRESS_S:
            self._told_at = now
            states = ", ".join(each.report.state for each in self._replicas) or "none"
            log.info(
                "%.0f s: waiting for a replica to answer; replicas: %s", now - self._began, states
            )

    def _greeting(self, model: str, seconds: float) -> list[str]:
        host, port = _reached(self._application.host), self._application.port
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        folder = Path(tempfile.gettempdir()) / f"clipstream-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        sample = folder / "sample.png"
        sample.write_bytes(sample_png())
        key = " -H 'authorization: Bearer KEY'" if self._settings.serve.keys is not None else ""
        curl = f"curl -s {address}/v1/classify{key} -H 'content-type: image/png'"
        return [
            f"{model} answers at {address} after {math.ceil(seconds)} s. Try:",
            f"  {curl} --data-binary @{sample}",
        ]

    def _drain(self) -> None:
        """Let the replicas refuse new requests, and wait until those in flight are answered."""
        grace_s = self._settings.workers.grace_s
        log.info("draining: requests in flight have %g s", grace_s)
        until = time.monotonic() + grace_s
        while time.monotonic() < until:
            self._look(draining=True)
            living = [each for each in self._replicas if each.ready and each.age_s < UNHEARD_S]
            if all(each.report.draining and not each.report.in_flight for each in living):
                return
            time.sleep(TICK_S)
        log.warning("requests are still in flight after %g s", grace_s)
        self._application.abandon()


def _require_port(settings: Settings) -> None:
    """Raises Halt if another program listens on the port."""
    policy = settings.serve
    family = socket.AF_INET6 if ":" in policy.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((policy.host, policy.port))
    except OSError as error:
        raise Halt(
            "serve.port_taken",
            f"serve: {policy.host}:{policy.port} cannot be listened on ({error.strerror}); stop "
            "the program that does, or choose another port (serve.port, --port)",
        ) from error


def _line(heard: Heard) -> str:
    report = heard.report
    return (
        f"replica {report.id}: {'draining' if report.draining else report.state}, "
        f"{report.in_flight} in flight (process {report.pid} on {report.node})"
    )


def _exit_code(verdict: Verdict) -> ExitCode:
    return ExitCode.USAGE if is_of_input(verdict.code) else verdict.exit_code


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(_reached(host), port, timeout=READY_ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reached(host: str) -> str:
    """A name by which this machine reaches itself."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
