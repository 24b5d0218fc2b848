"""What an outcome waits for."""

from __future__ import annotations

from pipeline.flow import FlowPolicy
from pipeline.records import OutputTopic, Partition
from pipeline.records.progress import Progress
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import TOPIC, Running, committed, new_broker, running, visible


def test_only_images_with_the_same_key_wait_for_a_slow_one() -> None:
    broker = new_broker()
    partition = Partition(TOPIC, 0)
    slow, quick = (b'{"bucket": "bucket", "key": "%s"}' % key for key in (b"slow", b"quick"))
    broker.produce(partition, slow, key=b"a")
    for key in (b"b", b"a", None, b"b"):
        broker.produce(partition, quick, key=key)
    worker = Running(broker, "0", FlowPolicy())
    eventually(lambda: worker.worker.health().committed == 3)
    assert broker.progress("g", partition) == Progress(0, (range(1, 2), range(3, 5)))
    worker.stop(grace_s=0.05)
    # Its successor takes up what is left, and nothing else.
    with running(broker) as worker:
        eventually(lambda: worker.flow.running == {"slow"})
        worker.open_gate()
        eventually(lambda: committed(broker) == 5)
        eventually(lambda: worker.worker.health().committed == 2)
    keys = [record.key for record in visible(broker, OutputTopic.CLASSIFICATIONS)]
    assert keys == [b"b", None, b"b", b"a", b"a"]
