"""Events of images that came over HTTP, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.adapters.kafka.served import publisher as publisher_module
from pipeline.adapters.kafka.served.publisher import EventPublisher
from pipeline.errors import Retry
from pipeline.events import EventsPolicy
from pipeline.events.served import ServedEvents, ServedImage
from pipeline.records import EventRecord, OutputTopic
from tests.rigs.services.kafka_deployment import IMPATIENT, Deployment

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap, start=None) as opened:
        yield opened


def events(*requests: str) -> list[EventRecord]:
    served = ServedEvents(EventsPolicy(), "1")
    images = [ServedImage(each, "key", "/v1/classify", 0, None, "ab" * 32) for each in requests]
    return [served.failed(image, "decode.corrupt") for image in images]


def test_records_are_there_once_publish_returns(deployment: Deployment) -> None:
    topic = deployment.topic(OutputTopic.CLASSIFICATIONS)
    publisher = EventPublisher(deployment.kafka, deployment.delivery, topic)

    async def publish() -> None:
        requests = [events(f"request-{number}", f"request-{number}") for number in range(20)]
        await asyncio.gather(*(publisher.publish(each) for each in requests))

    with closing(publisher):
        asyncio.run(publish())
        seen = deployment.visible()
    by_key = {key: {partition for partition, _, k, _ in seen if k == key} for _, _, key, _ in seen}
    assert len(seen) == 40
    assert len(by_key) == 20
    assert all(len(partitions) == 1 for partitions in by_key.values())
    assert json.loads(seen[0][3] or b"")["code"] == "decode.corrupt"


def test_a_topic_that_is_created_later_is_found(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "REBUILD_S", 0.05)
    topic = f"{deployment.input}.served"
    publisher = EventPublisher(deployment.kafka, IMPATIENT, topic)

    async def publish() -> None:
        with pytest.raises(Retry, match=f"topic {topic} is not known"):
            await publisher.publish(events("early"))
        await asyncio.to_thread(deployment.admin.create_topics, {topic: {}}, 1, 1)
        while True:
            try:
                return await publisher.publish(events("late"))
            except Retry:
                await asyncio.sleep(publisher_module.REBUILD_S)

    with closing(publisher):
        asyncio.run(publish())
