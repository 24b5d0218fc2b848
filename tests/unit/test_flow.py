"""The life of one image, with stages that do what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import threading
from collections.abc import AsyncIterator, Hashable
from functools import partial

import numpy as np
import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Code, Halt, Reject
from pipeline.flow import Flow
from pipeline.priority import Turns
from pipeline.records import (
    Classification,
    DeadLetter,
    DecodedImage,
    EmbeddingDtype,
    ImageGeometry,
    ImageRef,
    LabelSetResult,
    ModelIdentity,
    ObjectBody,
    Origin,
    Pixels,
    Position,
    Vector,
)

REF = ImageRef("bucket", "key", Origin(Position("refs", 0, 7), 0, 0), ("things",))
MODEL = ModelIdentity("test/model", "r1", 3, 100.0, "fp32", "test")
EMBEDDING = np.array([0.1, 0.2, 0.3], np.float32)


class Stages:
    """Every stage of the flow; ``failure`` is raised by the stage that it names."""

    def __init__(self, failing: str = "", failure: Exception | None = None) -> None:
        self._failing = failing
        self._failure = failure
        self.passed: list[str] = []
        self.content_encoding: str | None = None
        self.scored: list[Vector] = []
        self.body = b"bytes"

    def _pass(self, stage: str) -> None:
        self.passed.append(stage)
        if stage == self._failing and self._failure is not None:
            raise self._failure

    @contextlib.asynccontextmanager
    async def fetch(
        self, ref: ImageRef, level: int = 0, source: Hashable = None
    ) -> AsyncIterator[ObjectBody]:
        await asyncio.sleep(0)
        self._pass("fetch")
        yield ObjectBody(self.body, "e1", "v1", "gzip")
        self._pass("release")

    async def decode(
        self, body: bytes, geometry: ImageGeometry, content_encoding: str | None = None
    ) -> DecodedImage:
        await asyncio.sleep(0)
        self._pass("decode")
        self.content_encoding = content_encoding
        return DecodedImage(np.zeros((2, 2, 3), np.uint8), "PNG", 4, 3, 1, 0.25)

    async def close(self) -> None: ...

    async def encode(self, pixels: Pixels, level: int = 0) -> Vector:
        self._pass("encode")
        return EMBEDDING

    def score(self, names: tuple[str, ...], embedding: Vector) -> tuple[LabelSetResult, ...]:
        self.scored.append(embedding)
        return tuple(LabelSetResult(name, "v", (), (), "allow") for name in names)

    def unclassified_action(self, names: tuple[str, ...]) -> str:
        return "quarantine"


def outcome_of(
    stages: Stages, dtype: EmbeddingDtype = "float32", meter: PrometheusMeter | None = None
) -> Classification | DeadLetter:
    return asyncio.run(flow_of(stages, dtype, meter).classify(REF, stages))


def flow_of(
    stages: Stages,
    dtype: EmbeddingDtype = "float32",
    meter: PrometheusMeter | None = None,
    decoders: int = 64,
) -> Flow:
    return Flow(
        stages,
        stages,
        Turns(decoders),
        stages,
        model=MODEL,
        geometry=ImageGeometry(2, 2),
        decode_mode="strict",
        decode_crop="transformers",
        embedding_dtype=dtype,
        clock=SystemClock(),
        meter=meter or PrometheusMeter(),
    )


def test_a_classification_says_what_was_read_and_how() -> None:
    stages = Stages()
    outcome = outcome_of(stages)
    assert stages.content_encoding == "gzip"
    assert isinstance(outcome, Classification)
    assert (outcome.etag, outcome.version_id, outcome.size_bytes) == ("e1", "v1", 5)
    assert outcome.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert [result.label_set for result in outcome.results] == ["things"]


@pytest.mark.parametrize("size_bytes", [5, 4 * 1024 * 1024])
def test_a_large_object_is_hashed_beside_the_event_loop(
    size_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, sha256, threads = bytes(size_bytes), hashlib.sha256, []

    def hashed(data: bytes) -> object:
        threads.append(threading.current_thread())
        return sha256(data)

    monkeypatch.setattr(hashlib, "sha256", hashed)
    stages = Stages()
    stages.body = body
    outcome = outcome_of(stages)
    assert isinstance(outcome, Classification)
    assert outcome.sha256 == sha256(body).hexdigest()
    assert (threads == [threading.main_thread()]) is (size_bytes < 1024)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_computed_from_the_embedding_as_published(dtype: EmbeddingDtype) -> None:
    stages = Stages()
    outcome = outcome_of(stages, dtype)
    assert isinstance(outcome, Classification)
    assert outcome.embedding.dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(stages.scored[0], outcome.embedding.astype(np.float32))


@pytest.mark.parametrize("stage", ["fetch", "decode", "encode"])
def test_a_rejected_image_is_a_dead_letter_with_its_label_sets_action(stage: str) -> None:
    outcome = outcome_of(Stages(stage, Reject("decode.corrupt", "broken", attempts=3)))
    assert isinstance(outcome, DeadLetter)
    assert (outcome.code, outcome.attempts, outcome.ref) == ("decode.corrupt", 3, REF)
    assert outcome.unclassified_action == "quarantine"


def test_the_dead_letter_of_an_unsupported_format_names_it() -> None:
    outcome = outcome_of(Stages("decode", Reject("decode.unsupported_format", "no", format="SVG")))
    assert isinstance(outcome, DeadLetter)
    assert outcome.format == "SVG"


def test_a_defect_of_ours_costs_one_image_and_not_the_worker() -> None:
    outcome = outcome_of(Stages("encode", ZeroDivisionError("oops")))
    assert isinstance(outcome, DeadLetter)
    assert outcome.code == "internal.unexpected"


@pytest.mark.parametrize(
    "exhausted",
    [
        MemoryError("no memory"),
        OSError(errno.EMFILE, "too many open files"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EAGAIN, "no process can be added"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_worker_that_runs_out_of_resources_blames_no_image(exhausted: Exception) -> None:
    with pytest.raises(type(exhausted), match=str(exhausted.args[-1])):
        outcome_of(Stages("decode", exhausted))


def test_another_error_of_the_system_costs_one_image() -> None:
    outcome = outcome_of(Stages("decode", OSError(errno.EIO, "input/output error")))
    assert isinstance(outcome, DeadLetter)
    assert outcome.code == "internal.unexpected"


def test_a_halt_is_no_outcome() -> None:
    with pytest.raises(Halt, match="gone"):
        outcome_of(Stages("encode", Halt("model.broken", "the device is gone")))


def test_the_object_is_given_up_once_it_is_decoded() -> None:
    stages = Stages()
    outcome_of(stages)
    assert stages.passed == ["fetch", "decode", "release", "encode"]


class OnePool(Stages):
    """A decoder that finishes an image when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.decoding = 0
        self.finish = asyncio.Semaphore(0)

    async def decode(
        self, body: bytes, geometry: ImageGeometry, content_encoding: str | None = None
    ) -> DecodedImage:
        self.decoding += 1
        await self.finish.acquire()
        self.decoding -= 1
        return await super().decode(body, geometry, content_encoding)


def test_the_decode_queue_is_what_waits_and_not_what_is_decoded() -> None:
    stages, meter = OnePool(), PrometheusMeter()
    depth = partial(meter.registry.get_sample_value, "clipstream_queue_depth", {"stage": "decode"})

    async def scenario() -> None:
        flow = flow_of(stages, meter=meter, decoders=2)
        assert depth() == 0
        images = [asyncio.create_task(flow.classify(REF, stages)) for _ in range(2)]
        await settled()
        assert (stages.decoding, depth()) == (2, 0)
        images += [asyncio.create_task(flow.classify(REF, stages)) for _ in range(3)]
        await settled()
        assert (stages.decoding, depth()) == (2, 3)
        images.pop().cancel()
        await settled()
        assert (stages.decoding, depth()) == (2, 2)
        stages.finish.release()
        await settled()
        assert (stages.decoding, depth()) == (2, 1)
        for _ in range(3):
            stages.finish.release()
        await asyncio.gather(*images)
        assert (stages.decoding, depth()) == (0, 0)

    async def settled() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(scenario())


def timed(meter: PrometheusMeter, stage: str) -> float:
    name = "clipstream_stage_duration_seconds_count"
    return meter.registry.get_sample_value(name, {"stage": stage}) or 0


def test_stages_are_timed_of_images_that_went_through_them_refused_ones_included() -> None:
    meter = PrometheusMeter()
    outcome_of(Stages(), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (1, 1)
    outcome_of(Stages("decode", Reject("decode.timeout", "late")), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (2, 1)
    outcome_of(Stages("fetch", Reject("fetch.not_found", "gone")), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (2, 1)


def test_the_queue_ends_empty() -> None:
    stages, meter = Stages(), PrometheusMeter()

    async def many() -> None:
        flow = flow_of(stages, meter=meter)
        await asyncio.gather(*(flow.classify(REF, stages) for _ in range(20)))

    asyncio.run(many())
    depth = meter.registry.get_sample_value("clipstream_queue_depth", {"stage": "decode"})
    assert depth == 0


GOOD = (b"one", b"two")


def test_known_good_images_go_through_decode_and_encode_alone() -> None:
    stages = Stages()
    assert asyncio.run(flow_of(stages).classifies(GOOD))
    assert stages.passed == ["decode", "encode"] * 2


@pytest.mark.parametrize("code", ["decode.corrupt", "encode.failed"])
def test_a_good_image_that_is_rejected_says_that_a_stage_is_broken(code: str) -> None:
    stages = Stages(Code.stage(code), Reject(code, "no"))
    assert not asyncio.run(flow_of(stages).classifies(GOOD))


def test_good_images_can_halt_like_any_other() -> None:
    with pytest.raises(Halt):
        asyncio.run(flow_of(Stages("encode", Halt("encode.unusable", "no"))).classifies(GOOD))
