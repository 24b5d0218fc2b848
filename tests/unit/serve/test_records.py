"""Outcomes of requests: published before the answer, or there is none."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt, Reject, Retry
from pipeline.events import EventsPolicy
from pipeline.events.served import ServedEvents
from pipeline.metrics import HTTP_HELD_BYTES
from pipeline.records import (
    EventRecord,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
)
from workers.serve.admission.memory import MemoryBudget
from workers.serve.caller import ANYBODY, Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Inline, Located, Seen
from workers.serve.publishing.records import SILENT, Answered, Records

BODY = b"the bytes of an image"
SHA256 = hashlib.sha256(BODY).hexdigest()
SENT = Inline(b"", sha256=SHA256)
"""Its bytes are gone once they were looked at."""
SEEN = Seen(
    Looked(
        embedding=np.array([0.6, 0.8], dtype="<f4"),
        model=ModelIdentity("clip", "1", 2, 100.0, "fp32", "torch-cpu"),
        image=ImageFacts("JPEG", 40, 30, 1, 0.25),
        sha256=SHA256,
        size_bytes=len(BODY),
        decode_mode="strict",
        decode_crop="transformers",
    )
)
RESULT = LabelSetResult("pets", "sha256:1", (LabelScore("walrus", 0.9, 0.3),), ("walrus",), "keep")


class Published:
    """A publisher that keeps records in memory, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.records: list[EventRecord] = []
        self._failure = failure

    async def publish(self, records: Sequence[EventRecord]) -> None:
        if self._failure is not None:
            raise self._failure
        self.records += records

    def close(self) -> None: ...


def admitted(request_id: str = "request-1") -> Admitted:
    memory = MemoryBudget(1, MemoryMeter([HTTP_HELD_BYTES]))
    return Admitted(replace(ANYBODY, name="gallery"), request_id, memory.hold())


def records(publisher: Published, **policy: Any) -> Records:
    return Records(publisher, ServedEvents(EventsPolicy(**policy), "1.2"))


def published(*answered: Answered, own_labels: bool = False) -> list[EventRecord]:
    to = Published()
    publish = records(to, embeddings=False).publish(
        admitted(), "/v1/classify", dict(enumerate(answered)), own_labels=own_labels
    )
    asyncio.run(publish)
    return to.records


def values(*answered: Answered) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in published(*answered)]


def test_each_image_is_published_with_its_place_in_the_request() -> None:
    first, second = values(
        Answered(SENT, SEEN, (RESULT,)),
        Answered(SENT, Reject("decode.corrupt", "no image")),
    )
    assert first["request"] == {
        "id": "request-1",
        "key": "gallery",
        "route": "/v1/classify",
        "index": 0,
    }
    assert first["results"][0]["scores"][0]["label"] == "walrus"
    assert (second["request"]["index"], second["code"]) == (1, "decode.corrupt")


def test_bytes_of_the_request_are_named_by_their_hash() -> None:
    seen, failed = values(
        Answered(SENT, SEEN), Answered(SENT, Reject("decode.corrupt", "no image"))
    )
    assert seen["object"]["sha256"] == failed["sha256"] == SHA256
    assert seen["uri"] is failed["uri"] is None


@pytest.mark.parametrize(
    ("ref", "uri"),
    [
        (ImageRef("photos", "what?.jpg", ()), "s3://photos/what?.jpg"),
        (ImageRef("host", "a.jpg", (), scheme="https", query="sign=secret"), "https://host/a.jpg"),
    ],
)
def test_an_image_with_an_address_is_named_by_it_without_a_query(ref: ImageRef, uri: str) -> None:
    for record in published(
        Answered(Located(ref), SEEN), Answered(Located(ref), Reject("fetch.not_found", "gone"))
    ):
        assert json.loads(record.value)["uri"] == uri
        assert b"secret" not in record.value + repr(record.headers).encode()


def test_no_record_holds_what_the_sender_wrote_for_the_model() -> None:
    answered = [
        Answered(SENT, SEEN, (RESULT,)),
        Answered(SENT, Reject("decode.corrupt", "'walrus' is no image")),
    ]
    for record in published(*answered, own_labels=True):
        whole = record.key + record.value + repr(record.headers).encode()
        assert b"walrus" not in whole
        assert b"pets" not in whole


def test_what_a_store_could_not_give_is_published_with_its_code() -> None:
    ref = Located(ImageRef("photos", "cat.jpg", ()))
    (value,) = values(Answered(ref, Retry("fetch.timeout", "late")))
    assert value["code"] == "fetch.timeout"


def test_an_error_of_the_answer_is_published_by_its_code() -> None:
    (value,) = values(Answered(SENT, ApiError(400, "decode.corrupt", "no image")))
    assert (value["code"], value["stage"]) == ("decode.corrupt", "decode")


def test_places_are_those_of_the_request() -> None:
    to = Published()
    answered = {3: Answered(SENT, SEEN), 5: Answered(SENT, SEEN)}
    asyncio.run(records(to, embeddings=False).publish(admitted(), "/v1/embeddings", answered))
    assert [json.loads(record.value)["request"]["index"] for record in to.records] == [3, 5]


def test_an_image_that_nobody_could_hash_has_no_subject() -> None:
    (record,) = published(Answered(Inline(b""), Reject("internal.unexpected", "a defect")))
    assert "ce_subject" not in dict(record.headers)


def test_a_request_that_is_sent_again_with_its_id_repeats_the_ids() -> None:
    def ids() -> list[bytes]:
        answered = Answered(SENT, SEEN), Answered(SENT, SEEN)
        return [dict(record.headers)["ce_id"] for record in published(*answered)]

    assert ids() == ids()
    assert len({*ids()}) == 2


def test_without_a_record_there_is_no_answer_and_the_client_is_asked_to_come_again() -> None:
    failing = records(Published(Retry("kafka.unavailable", "kafka: broker-1 does not answer")))
    with pytest.raises(ApiError) as refused:
        asyncio.run(failing.publish(admitted(), "/v1/classify", {0: Answered(SENT, SEEN)}))
    assert (refused.value.status, refused.value.code) == (503, "publish_failed")
    assert refused.value.headers()["retry-after-ms"] == "1000"
    assert "broker-1" not in refused.value.message


def test_a_broker_that_will_never_take_records_ends_the_replica() -> None:
    failing = records(Published(Halt("kafka.not_authorized", "no")))
    with pytest.raises(Halt):
        asyncio.run(failing.publish(admitted(), "/v1/classify", {0: Answered(SENT, SEEN)}))


def test_a_request_without_images_publishes_nothing() -> None:
    failing = records(Published(Retry("kafka.unavailable", "never asked")))
    asyncio.run(failing.publish(admitted(), "/v1/embeddings", {}))


def test_nothing_is_published_where_nobody_asked_for_it() -> None:
    asyncio.run(SILENT.publish(admitted(), "/v1/classify", {0: Answered(SENT, SEEN)}))
