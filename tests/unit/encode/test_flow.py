"""The life of one image, with stages that do what the test says."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading

import numpy as np
import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Halt, Overloaded, Reject
from pipeline.flow import Flow
from pipeline.look import Look
from pipeline.metrics import IMAGE_METRICS, LABEL_DECISIONS, STAGE_SECONDS
from pipeline.records import (
    Classification,
    DeadLetter,
    EmbeddingDtype,
    ImageFacts,
    ImageRef,
)
from tests.rigs.failing_stages import EMBEDDING, Stages, look_of

REF = ImageRef("bucket", "key", ("things",))


def outcome_of(
    stages: Stages, dtype: EmbeddingDtype = "float32", meter: MemoryMeter | None = None
) -> Classification | DeadLetter:
    return asyncio.run(flow_of(stages, dtype, meter).classify(REF, stages))


def flow_of(
    stages: Stages,
    dtype: EmbeddingDtype = "float32",
    meter: MemoryMeter | None = None,
) -> Flow:
    clock, meter = SystemClock(), meter or MemoryMeter(IMAGE_METRICS)
    look = look_of(stages, meter, dtype)
    return Flow(stages, look, clock, meter)


def test_the_decision_of_a_scored_image_is_counted_and_that_of_no_other() -> None:
    meter = MemoryMeter(IMAGE_METRICS)
    outcome_of(Stages("decode", Reject("decode.corrupt", "broken")), meter=meter)
    assert meter.labels(LABEL_DECISIONS) == []
    outcome_of(Stages(), meter=meter)
    assert meter.value(LABEL_DECISIONS, label_set="things", decision="allow") == 1


def test_a_classification_says_what_was_read_and_how() -> None:
    stages = Stages()
    outcome = outcome_of(stages)
    assert stages.content_encoding == "gzip"
    assert isinstance(outcome, Classification)
    assert (outcome.etag, outcome.version_id, outcome.looked.size_bytes) == ("e1", "v1", 5)
    assert outcome.looked.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert outcome.looked.image == ImageFacts("PNG", 4, 3, 1, 0.25)
    assert outcome.looked.model == MemoryEncoder(dimension=3).model
    assert (outcome.looked.decode_mode, outcome.looked.decode_crop) == ("fast", "transformers")
    assert [result.label_set for result in outcome.results] == ["things"]


def test_bytes_are_looked_at_without_a_store_or_a_label_set() -> None:
    stages = Stages()
    encoder = MemoryEncoder(dimension=3)
    meter = MemoryMeter(IMAGE_METRICS)
    look = Look(stages, stages, encoder, DecodePolicy(), "float32", SystemClock(), meter)
    looked = asyncio.run(look(b"bytes", "gzip"))
    assert stages.passed == ["decode", "encode"]
    assert stages.content_encoding == "gzip"
    assert looked.sha256 == hashlib.sha256(b"bytes").hexdigest()
    np.testing.assert_array_equal(looked.embedding, EMBEDDING)


def test_an_object_is_fetched_at_the_level_and_for_the_source_of_its_image() -> None:
    stages = Stages()
    asyncio.run(flow_of(stages).classify(REF, stages, 2, "a partition"))
    assert stages.fetched == [(2, "a partition")]


def test_what_was_seen_of_the_same_bytes_is_scored_anew_and_nothing_is_read() -> None:
    first = outcome_of(Stages())
    assert isinstance(first, Classification)
    stages = Stages("fetch", Reject("fetch.not_found", "gone"))
    ref = ImageRef("bucket", "copy", ("things", "brands"), version_id="v2", etag="e2")
    copy = asyncio.run(flow_of(stages).classify(ref, stages, looked=first.looked))
    assert isinstance(copy, Classification)
    assert stages.passed == []
    assert (copy.ref, copy.looked, copy.etag, copy.version_id) == (ref, first.looked, "e2", "v2")
    assert [result.label_set for result in copy.results] == ["things", "brands"]


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
    assert outcome.looked.sha256 == sha256(body).hexdigest()
    assert (threads == [threading.main_thread()]) is (size_bytes < 1024)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_computed_from_the_embedding_as_published(dtype: EmbeddingDtype) -> None:
    stages = Stages()
    outcome = outcome_of(stages, dtype)
    assert isinstance(outcome, Classification)
    assert outcome.looked.embedding.dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(stages.scored[0], outcome.looked.embedding.astype(np.float32))


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


def test_an_overload_is_no_outcome() -> None:
    with pytest.raises(Overloaded, match="no room"):
        outcome_of(Stages("encode", Overloaded("encode.overloaded", "no room", 0.5)))


def test_the_object_is_given_up_once_it_is_decoded() -> None:
    stages = Stages()
    outcome_of(stages)
    assert stages.passed == ["fetch", "decode", "release", "encode"]


def timed(meter: MemoryMeter, stage: str) -> int:
    return len(meter.values(STAGE_SECONDS, stage=stage))


def test_stages_are_timed_of_images_that_went_through_them_refused_ones_included() -> None:
    meter = MemoryMeter(IMAGE_METRICS)
    outcome_of(Stages(), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (1, 1)
    outcome_of(Stages("decode", Reject("decode.timeout", "late")), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (2, 1)
    outcome_of(Stages("fetch", Reject("fetch.not_found", "gone")), meter=meter)
    assert (timed(meter, "decode"), timed(meter, "score")) == (2, 1)
