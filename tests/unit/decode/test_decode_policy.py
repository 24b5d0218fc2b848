"""Settings of decoding, and what the pool and its children tell each other."""

from __future__ import annotations

import signal

import pytest
from pydantic import ValidationError

from pipeline.adapters.decode import pool as decoders
from pipeline.adapters.decode.wire import (
    EXIT_OUT_OF_MEMORY,
    MAX_DETAIL_BYTES,
    REPLY_BYTES,
    ChildConfig,
    ChildEnd,
    ProtocolViolation,
    Reply,
    Verdict,
)
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.decode.signatures import FORMATS
from pipeline.errors import CODES
from pipeline.fetch import FetchPolicy
from pipeline.metrics import IMAGE_METRICS

PIXELS = 224 * 224 * 3


def test_the_default_policy_stands() -> None:
    policy = DecodePolicy()
    assert policy.max_pixels == 64_000_000
    assert policy.max_memory_bytes == 2 * 2**30
    assert "AVIF" in policy.formats
    assert {"TIFF", "HEIF"}.isdisjoint(policy.formats)


def test_a_decoder_of_callers_that_fetch_nothing_takes_what_is_fetched_by_default() -> None:
    assert FetchPolicy().max_bytes == decoders.MAX_FILE_BYTES


def test_memory_that_does_not_cover_the_pixels_is_refused_with_the_number_that_would() -> None:
    with pytest.raises(ValidationError, match=r"max_memory_mib = 1000 .* make 1477"):
        DecodePolicy(max_memory_mib=1_000)
    DecodePolicy(max_memory_mib=1_477)
    DecodePolicy(max_memory_mib=1_000, max_megapixels=30)
    with pytest.raises(ValidationError, match=r"24 bytes a pixel and 256 MiB make 1721"):
        DecodePolicy(max_memory_mib=1_477, formats=("JPEG", "HEIF"))


@pytest.mark.parametrize(
    "fields",
    [
        {"formats": ("PNG", "PNG")},
        {"formats": ()},
        {"formats": ("EPS",)},
        {"deadline_s": 0},
        {"max_megapixels": 0},
        {"mode": "loose"},
        {"animations": "all"},
        {"crop": "torchvision"},
    ],
)
def test_a_senseless_policy_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DecodePolicy.model_validate(fields)


@pytest.mark.parametrize(
    ("returncode", "code", "final"),
    [
        (EXIT_OUT_OF_MEMORY, "decode.out_of_memory", True),
        (-signal.SIGKILL, "decode.out_of_memory", False),
        (-signal.SIGPROF, "decode.timeout", True),
        (-signal.SIGXCPU, "decode.timeout", True),
        (-signal.SIGSEGV, "decode.crashed", False),
        (-signal.SIGABRT, "decode.crashed", False),
        (-signal.SIGRTMIN, "decode.crashed", False),
        (0, "decode.crashed", False),
        (1, "decode.crashed", False),
    ],
)
def test_a_death_has_a_code_and_only_what_may_pass_is_tried_again(
    returncode: int, code: str, final: bool
) -> None:
    end = ChildEnd.of(returncode)
    assert (end.code, end.final) == (code, final)
    assert end.cause
    assert code in CODES


def test_every_refusal_of_a_child_is_a_reject_code() -> None:
    for verdict in Verdict:
        if verdict is not Verdict.DECODED:
            assert f"decode.{verdict.name.lower()}" in CODES


def test_a_child_config_survives_its_command_line() -> None:
    config = ChildConfig(
        formats=("JPEG", "PNG"),
        max_file_bytes=1_000_000,
        max_pixels=1,
        reject_animations=True,
        fast=False,
        centring="openai",
        max_views=9,
        max_unseen=0.1,
        memory_bytes=2,
        image_memory_bytes=1,
        image_cpu_s=0.5,
        lifetime_cpu_s=3,
        parent_pid=4,
    )
    assert ChildConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "reply",
    [
        Reply(Verdict.DECODED, PIXELS - 1, 0, 1, 1, 1),
        Reply(Verdict.DECODED, PIXELS, 2, 1, 1, 1),
        Reply(Verdict.DECODED, PIXELS, 0, 0, 1, 1),
        Reply(Verdict.DECODED, PIXELS, 0, 1, 0, 1),
        Reply(Verdict.DECODED, PIXELS, 0, 1, 1, 0),
        Reply(Verdict.DECODED, PIXELS, 0, 1, 1, 1, (bytes(32), 101)),
        Reply(Verdict.CORRUPT, MAX_DETAIL_BYTES + 1),
        Reply(Verdict.CORRUPT, 0, 1),
        Reply(Verdict.UNSUPPORTED_FORMAT, 0, len(FORMATS)),
    ],
    ids=repr,
)
def test_an_answer_that_makes_no_sense_is_not_believed(reply: Reply) -> None:
    with pytest.raises(ProtocolViolation):
        Reply.unpack(reply.pack(), formats=2, resize=224, crop=224)


def test_an_unknown_verdict_is_not_believed() -> None:
    frame = bytes([max(Verdict) + 1]) + bytes(REPLY_BYTES - 1)
    with pytest.raises(ProtocolViolation):
        Reply.unpack(frame, formats=2, resize=224, crop=224)


@pytest.mark.parametrize(("processors", "processes"), [(1, 1), (16, 16), (64, 16)])
def test_the_default_number_of_processes_is_within_its_bounds(
    processors: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "available_processors", lambda: processors)
    decoder = decoders.SandboxedDecoder(DecodePolicy(), MemoryMeter(IMAGE_METRICS))
    assert decoder.processes == processes
