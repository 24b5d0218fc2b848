"""The supervisor's handle of an actor, over a Ray that does what the test says."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt, WorkerLost
from pipeline.halts import Fault, fault_of
from tests.rigs.waiting import eventually
from workers.cluster import actors, heap
from workers.cluster.actors import WorkerActor
from workers.cluster.handle import RayWorker
from workers.health import Health, Heard
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate

HEALTH = Health(
    0.0,
    0.0,
    0.0,
    0.0,
    partitions=1,
    unfinished=0,
    lag=0,
    committed=0,
    passed=0,
    available=True,
    held_up=False,
)

NODE = Node("a" * 56, "host-a")


class RayError(Exception):
    """What Ray raises where a call failed."""


class RayActorError(RayError):
    """What Ray raises where the process is gone."""


class Call:
    """A call of an actor's method; ``answer`` is None until it is there."""

    def __init__(self) -> None:
        self.done = False
        self.answer: Any = None

    def finish(self, answer: Any) -> None:
        self.done, self.answer = True, answer


class Method:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def remote(self, *_: object) -> Call:
        self.calls.append(Call())
        return self.calls[-1]


class Actor:
    def __init__(self) -> None:
        self.node, self.run, self.health, self.stop = Method(), Method(), Method(), Method()
        self.listening = Method()


class MadeUpRay:
    """As much of Ray's module as the handle uses."""

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError)

    def __init__(self) -> None:
        self.killed: list[Actor] = []

    def wait(self, calls: list[Call], timeout: float) -> tuple[list[Call], list[Call]]:
        return [call for call in calls if call.done], [call for call in calls if not call.done]

    def get(self, call: Call) -> Any:
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> MadeUpRay:
    made_up = MadeUpRay()
    monkeypatch.setitem(sys.modules, "ray", made_up)
    return made_up


def begun(actor: Actor, clock: HandClock) -> RayWorker:
    """The handle of a worker that has found room and runs."""
    worker = RayWorker(actor, clock, "1 CPU")
    assert worker.node() is None
    actor.node.calls[0].finish(NODE)
    assert worker.node() == NODE
    assert actor.run.calls == [], "it runs when it is told to begin"
    worker.begin()
    return worker


@pytest.mark.usefixtures("ray")
def test_an_answer_has_the_time_at_which_it_came() -> None:
    actor, clock = Actor(), HandClock()
    worker = begun(actor, clock)
    assert worker.health() is None
    actor.health.calls[0].finish(HEALTH)
    assert worker.health() == Heard(HEALTH, 1000.0)
    for _ in range(50):
        clock.now += 1.0
        assert worker.health() == Heard(HEALTH, 1000.0)
    assert len(actor.health.calls) == 2, "a silent actor must not collect calls"
    actor.health.calls[1].finish(HEALTH)
    assert worker.health() == Heard(HEALTH, 1050.0)


@pytest.mark.usefixtures("ray")
def test_a_worker_that_is_being_built_has_not_answered() -> None:
    actor = Actor()
    worker = begun(actor, HandClock())
    worker.health()
    actor.health.calls[0].finish(None)
    assert worker.health() is None


def test_a_run_that_crashed_leaves_no_process(ray: MadeUpRay) -> None:
    actor = Actor()
    worker = begun(actor, HandClock())
    assert worker.ended() is None
    actor.run.calls[0].finish(RayError("MemoryError: no memory"))
    ended = worker.ended()
    assert ended == Ended(Fate.DIED, "worker.failed", "MemoryError: no memory")
    assert ray.killed == [actor]


def test_a_process_that_is_gone_has_died(ray: MadeUpRay) -> None:
    actor = Actor()
    worker = begun(actor, HandClock())
    actor.run.calls[0].finish(RayActorError("killed by signal 9\nmore"))
    assert worker.ended() == Ended(Fate.DIED, "worker.died", "killed by signal 9")
    assert ray.killed == [actor], "Ray may have lost sight of it only"


def test_a_process_that_did_not_start_says_why(ray: MadeUpRay) -> None:
    actor = Actor()
    worker = RayWorker(actor, HandClock(), "1 CPU")
    cause = (
        "\x1b[36mray::creation task\x1b[39m failed\n  in a file\nModuleNotFoundError: no workers"
    )
    actor.node.calls[0].finish(RayActorError(cause))
    assert worker.ended() == Ended(Fate.DIED, "worker.died", "ModuleNotFoundError: no workers")


class Built:
    """A worker whose run ends as it is told, and what it owns."""

    def __init__(self, end: Exception | None, end_of_closing: Exception | None = None) -> None:
        self.worker = self
        self.metrics_port = 9400
        self.closed = False
        self._end, self._end_of_closing = end, end_of_closing

    def run(self) -> None:
        if self._end is not None:
            raise self._end

    def close(self) -> None:
        self.closed = True
        if self._end_of_closing is not None:
            raise self._end_of_closing


@pytest.mark.parametrize(
    ("end", "ended"),
    [
        (None, Ended(Fate.STOPPED)),
        (Halt("kafka.fenced", "why"), Ended(Fate.HALTED, "kafka.fenced", "why")),
        # One that is started anew may go on.
        (WorkerLost("encode.device_lost", "why"), Ended(Fate.DIED, "encode.device_lost", "why")),
    ],
)
@pytest.mark.parametrize("end_of_closing", [None, TimeoutError()])
def test_a_run_says_how_it_ended_however_its_closing_ends(
    end: Exception | None,
    ended: Ended,
    end_of_closing: Exception | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heap, "freeze", lambda: None)  # this process goes on
    built = Built(end, end_of_closing)
    settings = Settings(s3=S3Policy(allowed_buckets=("photos",)))
    actor = WorkerActor(lambda *_: built, SentSettings.of(settings), 0)  # type: ignore[arg-type]
    assert actor.run() == ended
    assert built.closed


def actor_of(build: Callable[..., Any]) -> WorkerActor:
    settings = Settings(s3=S3Policy(allowed_buckets=("photos",)))
    return WorkerActor(build, SentSettings.of(settings), 0)


def test_a_stop_while_the_model_is_loaded_ends_the_run_at_once() -> None:
    loading, loaded = threading.Event(), threading.Event()
    built = Built(AssertionError("it runs though it was stopped"))

    def build(*_: object) -> Built:
        loading.set()
        loaded.wait()
        return built

    actor = actor_of(build)
    ends: list[Ended] = []
    running = threading.Thread(target=lambda: ends.append(actor.run()))
    running.start()
    loading.wait()
    actor.stop(30.0)
    running.join()
    assert ends == [Ended(Fate.STOPPED)]
    # What was built meanwhile is given back without having run.
    loaded.set()
    eventually(lambda: built.closed)


def test_a_package_that_the_node_lacks_is_the_nodes_fault() -> None:
    def build(*_: object) -> Built:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    ended = actor_of(build).run()
    assert (ended.fate, ended.code) == (Fate.HALTED, "worker.package_missing")
    assert "libcudart.so.13" in ended.message
    assert fault_of(ended.code) is Fault.NODE


def test_what_nobody_foresaw_is_raised_where_the_run_is_waited_for() -> None:
    def build(*_: object) -> Built:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        actor_of(build).run()


def test_a_worker_that_waits_for_room_has_neither_ended_nor_a_node(ray: MadeUpRay) -> None:
    actor = Actor()
    worker = RayWorker(actor, HandClock(), "1 CPU and 1 GPU")
    assert worker.node() is None
    assert worker.ended() is None
    assert worker.wants == "1 CPU and 1 GPU"
    assert actor.run.calls == []
    worker.kill()
    assert ray.killed == [actor]


@pytest.mark.usefixtures("ray")
def test_an_actor_that_cannot_be_made_has_died() -> None:
    actor = Actor()
    worker = RayWorker(actor, HandClock(), "1 CPU")
    actor.node.calls[0].finish(RayActorError("the node died\nmore"))
    assert worker.node() is None
    assert worker.ended() == Ended(Fate.DIED, "worker.died", "the node died")


@pytest.mark.usefixtures("ray")
def test_the_handle_knows_where_the_workers_metrics_are_once_it_was_built() -> None:
    actor, clock = Actor(), HandClock()
    asked: list[tuple[Node, tuple[str, int]]] = []

    def reached(node: Node, listening: tuple[str, int]) -> str:
        asked.append((node, listening))
        return "10.1.2.3:9400"

    worker = RayWorker(actor, clock, "1 CPU", reached=reached)
    actor.node.calls[0].finish(NODE)
    assert worker.node() == NODE
    worker.begin()
    assert worker.metrics_at() is None
    assert actor.listening.calls == [], "it listens when it has been built"
    worker.health()
    actor.health.calls[0].finish(HEALTH)
    worker.health()
    assert worker.metrics_at() is None
    actor.listening.calls[0].finish(("10.1.2.3", 9400))
    assert worker.metrics_at() == "10.1.2.3:9400"
    assert worker.metrics_at() == "10.1.2.3:9400"
    assert asked == [(NODE, ("10.1.2.3", 9400))]
    assert len(actor.listening.calls) == 1


def test_a_worker_that_cannot_be_reached_from_here_is_read_once(
    ray: MadeUpRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver looks five times a second."""
    actor = Actor()
    worker = begun(actor, HandClock())
    worker.health()
    actor.health.calls[0].finish(HEALTH)
    worker.health()
    assert worker.metrics_at() is None
    actor.listening.calls[0].finish(("10.1.2.3", 9400))
    read: list[Call] = []

    def get(call: Call) -> Any:
        read.append(call)
        return call.answer

    monkeypatch.setattr(ray, "get", get)
    assert [worker.metrics_at() for _ in range(3)] == [None] * 3
    assert read == actor.listening.calls


@pytest.mark.usefixtures("ray")
def test_a_worker_that_ends_while_it_is_asked_for_its_metrics_has_none() -> None:
    actor, clock = Actor(), HandClock()
    worker = begun(actor, clock)
    worker.health()
    actor.health.calls[0].finish(HEALTH)
    worker.health()
    assert worker.metrics_at() is None
    actor.listening.calls[0].finish(RayActorError("killed by signal 9"))
    assert worker.metrics_at() is None


def test_an_actor_says_where_its_worker_listens_once_it_was_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heap, "freeze", lambda: None)
    monkeypatch.setattr(actors, "address_here", lambda: "10.1.2.3")
    actor = actor_of(lambda *_: Built(None))
    assert actor.listening() is None
    actor.run()
    assert actor.listening() == ("10.1.2.3", 9400)
