"""What a decoder's child can and cannot do, asked of real children."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from pipeline.adapters.decode.pool import CHILD_PROGRAM, SandboxedDecoder
from pipeline.adapters.decode.process import DecodeProcess
from pipeline.adapters.decode.wire import EXIT_OUT_OF_MEMORY, ChildConfig, ChildEnd, Verdict
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Halt
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import ImageGeometry
from tests.rigs.stages.decoding import as_file
from tests.rigs.waiting import eventually

GEOMETRY = ImageGeometry(32, 32)
PROGRAM = Path(__file__).with_name("decoder_with_faults.py")
PATIENCE_S = 60.0
MIB = 2**20

filtered = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"),
    reason="system calls are filtered on x86_64 and aarch64 only; run it there",
)


def config(*, memory_bytes: int = 512 * MIB, image_cpu_s: float = 30) -> ChildConfig:
    return ChildConfig(
        formats=("PNG",),
        max_file_bytes=1_000_000,
        max_pixels=1_000_000,
        reject_animations=False,
        fast=False,
        centring="transformers",
        max_views=1,
        max_unseen=0.0,
        memory_bytes=memory_bytes,
        image_memory_bytes=20_000_000,
        image_cpu_s=image_cpu_s,
        lifetime_cpu_s=600,
        parent_pid=os.getpid(),
    )


def say(fault: str, child_config: ChildConfig) -> str:
    """What a child answers to a fault."""

    async def scenario() -> str:
        child = DecodeProcess.launch(PROGRAM, child_config)
        try:
            await child.ready()
            reply, payload = await child.ask(f"fault:{fault}:".encode(), GEOMETRY)
            assert reply.verdict is Verdict.CORRUPT
            return payload.tobytes().decode()
        finally:
            await child.end()

    return asyncio.run(scenario())


def end_of(fault: str, child_config: ChildConfig) -> int:
    """The return code of a child that a fault ends."""

    async def scenario() -> int:
        child = DecodeProcess.launch(PROGRAM, child_config)
        try:
            await child.ready()
            with pytest.raises(ConnectionError):
                await child.ask(f"fault:{fault}:".encode(), GEOMETRY)
        finally:
            code = await child.end()
        return code

    return asyncio.run(scenario())


def failed_start(program: Path, child_config: ChildConfig) -> str:
    """The last words of a child that does not become ready."""

    async def scenario() -> str:
        child = DecodeProcess.launch(program, child_config)
        try:
            with pytest.raises(ConnectionError):
                await child.ready()
            return child.last_line()
        finally:
            await child.end()

    return asyncio.run(scenario())


def test_a_child_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    # The interpreter sets LC_CTYPE for itself where there is no locale.
    assert set(say("report_environment", config()).split()) <= {"LC_CTYPE", "LD_LIBRARY_PATH"}


@filtered
def test_a_child_reaches_no_file_no_socket_and_no_process() -> None:
    assert say("report_escapes", config()) == ""


@filtered
def test_a_child_that_decodes_heif_may_start_threads_and_nothing_else() -> None:
    with_heif = dataclasses.replace(config(), formats=("PNG", "HEIF"))
    assert say("report_escapes", with_heif) == "start a thread"


@filtered
def test_a_child_says_that_its_system_calls_are_filtered() -> None:
    async def scenario() -> None:
        child = DecodeProcess.launch(CHILD_PROGRAM, config())
        try:
            assert await child.ready() is True
        finally:
            await child.end()

    asyncio.run(scenario())


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways; use glibc"
)
def test_a_photograph_finds_the_memory_of_the_last_one_and_a_larger_image_gives_its_own_back() -> (
    None
):
    roomy = dataclasses.replace(
        config(memory_bytes=2048 * MIB), formats=("JPEG",), max_pixels=64_000_000
    )
    blank = Image.new("RGB", (8000, 6000), "teal")
    photograph, poster = as_file(blank.resize((4000, 3000)), "JPEG"), as_file(blank, "JPEG")

    async def scenario() -> None:
        child = DecodeProcess.launch(CHILD_PROGRAM, roomy)
        proc = Path("/proc", str(child.process.pid))

        def faults() -> int:
            return int((proc / "stat").read_text().rpartition(")")[2].split()[7])

        def resident_mib() -> float:
            pages = int((proc / "statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / MIB

        async def decode(body: bytes) -> int:
            """The page faults that it took."""
            before = faults()
            reply, _ = await child.ask(body, GEOMETRY)
            assert reply.verdict is Verdict.DECODED
            return faults() - before

        try:
            await child.ready()
            fresh = resident_mib()
            pixels_pages = 4000 * 3000 * 4 // os.sysconf("SC_PAGE_SIZE")
            assert await decode(photograph) > 0.8 * pixels_pages
            await decode(photograph)  # the heap finds its size
            assert await decode(photograph) < 0.1 * pixels_pages
            await decode(poster)
            assert resident_mib() < fresh + 64 + 16
        finally:
            await child.end()

    asyncio.run(scenario())


def test_the_kernel_holds_a_child_to_its_limits() -> None:
    async def scenario() -> None:
        child = DecodeProcess.launch(CHILD_PROGRAM, config())
        try:
            await child.ready()
            proc = Path("/proc", str(child.process.pid))
            limits = {
                line[:25].strip(): line[25:].split()[:2]
                for line in (proc / "limits").read_text().splitlines()
            }
            assert limits["Max address space"] == [str(512 * MIB)] * 2
            assert limits["Max cpu time"] == ["600"] * 2
            for none in ("Max core file size", "Max file size", "Max processes"):
                assert limits[none] == ["0", "0"]
            assert limits["Max open files"] == ["3", "3"]
            assert "NoNewPrivs:\t1" in (proc / "status").read_text()
            assert len(list((proc / "fd").iterdir())) == 3
        finally:
            await child.end()

    asyncio.run(scenario())


def test_memory_over_the_limit_ends_a_child_with_its_own_exit_status() -> None:
    assert end_of("devour_memory", config()) == EXIT_OUT_OF_MEMORY


def test_cpu_time_of_one_image_ends_a_child_even_if_the_parent_does_not() -> None:
    code = end_of("hang", config(image_cpu_s=0.2))
    assert code == -signal.SIGPROF
    assert ChildEnd.of(code).code == "decode.timeout"


def test_a_child_dies_with_its_parent() -> None:
    script = textwrap.dedent(f"""
        import asyncio, dataclasses, os
        from pathlib import Path
        from pipeline.adapters.decode.process import DecodeProcess
        from pipeline.adapters.decode.wire import ChildConfig
        from pipeline.records import ImageGeometry

        async def scenario():
            config = ChildConfig.from_json({config().to_json()!r})
            config = dataclasses.replace(config, parent_pid=os.getpid())
            child = DecodeProcess.launch(Path({str(PROGRAM)!r}), config)
            await child.ready()
            print(child.process.pid, flush=True)
            await child.ask(b"fault:hang:", ImageGeometry(32, 32))

        asyncio.run(scenario())
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = Path("/proc", parent.stdout.readline().decode().strip())
        assert child.exists()
        parent.kill()
        parent.wait()
    # A zombie until whoever adopts orphans here reaps it.
    eventually(lambda: not child.exists() or "State:\tZ" in (child / "status").read_text())


def test_a_child_whose_parent_is_another_does_not_start() -> None:
    foreign = dataclasses.replace(config(), parent_pid=1)
    assert "the parent has ended" in failed_start(CHILD_PROGRAM, foreign)


def test_too_little_memory_fails_the_start_and_not_every_image() -> None:
    words = failed_start(CHILD_PROGRAM, config(memory_bytes=MIB))
    assert "decode.max_memory_mib = 1 leaves no room" in words


def test_a_program_that_cannot_run_halts_with_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise RuntimeError('no codec today')\n")

    async def scenario() -> None:
        decoder = SandboxedDecoder(DecodePolicy(processes=2), MemoryMeter(IMAGE_METRICS), program)
        with pytest.raises(Halt) as caught:
            await decoder.start()
        assert caught.value.code == "decode.unavailable"
        assert "RuntimeError: no codec today" in caught.value.message

    asyncio.run(scenario())


def test_an_interpreter_that_is_gone_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def scenario() -> None:
        decoder = SandboxedDecoder(DecodePolicy(processes=1), MemoryMeter(IMAGE_METRICS))
        with pytest.raises(Halt, match=r"decode\.unavailable.*/nowhere/python"):
            await decoder.start()

    asyncio.run(scenario())
