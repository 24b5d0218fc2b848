"""A stream worker on a real Kafka, in a thread of the test: the real worker, commit window and
adapters; its images are classified at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.events import EventContext
from pipeline.metrics import STREAM_WORKER
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import POLICY, MadeUpFlow, rules_of, stream_worker
from workers.event_loop import EventLoopThread

COMMIT_INTERVAL_S = 0.02
WAIT_S = 30.0
"""Far more than the time limits of a call, and of the end of a worker."""


class WorkerOfDeployment:
    """The member of one slot."""

    def __init__(self, deployment: Deployment, slot: int = 0, release: str = "0") -> None:
        self._deployment = deployment
        self.stream = deployment.stream(slot)
        self.meter = PrometheusMeter(STREAM_WORKER)
        self.failure: BaseException | None = None
        self.flow = MadeUpFlow()
        self._loop = EventLoopThread(f"images-{slot}")
        facts = deployment.facts
        context = EventContext(facts.cluster_id, deployment.kafka.group, facts.topic_ids, release)
        self._worker = stream_worker(
            self.stream,
            self.flow,
            rules_of("v1", "things", removals=True),
            context,
            self._loop,
            self.meter,
            policy=replace(POLICY, commit_interval_s=COMMIT_INTERVAL_S),
            actions=True,
        )
        self._thread = threading.Thread(target=self._run, name=f"worker-{slot}")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:
            self.failure = error

    def open_gate(self) -> None:
        """Let the slow images go on."""
        self._loop.call_soon(self.flow.gate.set)

    @property
    def available(self) -> bool:
        return self._worker.health().available

    @property
    def committed(self) -> int:
        """References whose outcomes it has committed."""
        return self._worker.health().committed

    @property
    def failed_commits(self) -> float:
        return self.meter.registry.get_sample_value(metrics.COMMIT_FAILURES.name) or 0.0

    def has_committed(self, references: int) -> None:
        """Wait until it has; it must not have ended before."""

        def done() -> bool:
            assert self._thread.is_alive(), f"the worker has ended: {self.failure!r}"
            return self.committed >= references

        eventually(done)

    def stop(self) -> None:
        """It ends within its time limits, whatever the broker does."""
        self._worker.stop(0.0)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the worker hangs"
        self._loop.close()


@contextmanager
def working(deployment: Deployment, slot: int = 0) -> Iterator[WorkerOfDeployment]:
    worker = WorkerOfDeployment(deployment, slot)
    try:
        yield worker
    finally:
        worker.stop()


def references(*keys: str) -> list[bytes | None]:
    """Records of one reference each."""
    return [json.dumps({"bucket": "images", "key": key}).encode() for key in keys]


def classified(deployment: Deployment) -> list[str]:
    """Keys of the objects whose classification a consumer sees, sorted."""
    values: Sequence[bytes | None] = deployment.values()
    return sorted(json.loads(value or b"")["reference"]["key"] for value in values)
