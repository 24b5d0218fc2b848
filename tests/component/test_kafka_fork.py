"""A process that is forked while its clients are connected does not speak for its parent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import pytest

from pipeline.errors import Halt
from pipeline.ports import Commit
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import Deployment, outcome

pytestmark = pytest.mark.component


def told_by_a_fork(call: Callable[[], object]) -> str:
    """What becomes of the call in a fork of this process."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of what this test is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            call()
        except Halt as halt:
            said = halt.code
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


def test_a_fork_is_refused_and_its_parent_goes_on(kafka_bootstrap: str) -> None:
    with Deployment(kafka_bootstrap, partitions=1) as deployment:
        deployment.produce([b"0", b"1"])
        polling = deployment.ready()
        stream, first = polling.stream, deployment.partition(0)
        polling.until(lambda: len(polling.records) == 2)
        commit = Commit({first: Progress(1)}, (outcome(b"of 0"),))
        assert told_by_a_fork(lambda: stream.commit(commit)) == "kafka.forked"
        assert told_by_a_fork(lambda: stream.poll(1, 0.0)) == "kafka.forked"
        assert told_by_a_fork(stream.recover) == "kafka.forked"
        assert told_by_a_fork(lambda: stream.close(1.0)) == "nothing"
        assert deployment.visible(uncommitted=True) == []
        stream.commit(commit)
        stream.commit(Commit({first: Progress(2)}, (outcome(b"of 1"),)))
        assert deployment.values() == [b"of 0", b"of 1"]
        assert deployment.committed() == 2
