"""The program of a decoder's child: loads Pillow, confines itself, then decodes image by image.

``SandboxedDecoder`` starts it in an isolated interpreter with an empty environment. Its standard
input is a socket to the parent, and its second argument the ``ChildConfig``. The child ends when
the parent closes the socket or ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable

from pipeline.adapters.decode.confinement import confine
from pipeline.adapters.decode.content_coding import undo
from pipeline.adapters.decode.pdq import PdqHasher
from pipeline.adapters.decode.pillow import Decoded, PillowDecoder
from pipeline.adapters.decode.wire import (
    EXIT_OUT_OF_MEMORY,
    MAX_DETAIL_BYTES,
    REQUEST_BYTES,
    ChildConfig,
    Refused,
    Reply,
    Request,
    Verdict,
    pack_ready,
)
from pipeline.decode.signatures import FORMATS

_MIB = 2**20

_KEPT_BYTES = 64 * _MIB
"""Freed memory that the child keeps: enough for the pixels of 16 megapixels."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_LARGEST_MMAP_THRESHOLD = 32 * _MIB

Decode = Callable[[bytes, int, int], Decoded]
"""From a file's bytes, resize and crop to a decoded image, as ``PillowDecoder.decode``."""


def main(wrap: Callable[[Decode], Decode] = lambda decode: decode) -> None:
    """Serve the parent until it leaves. ``wrap`` lets a test program inject faults."""
    _keep_freed_memory()
    config = ChildConfig.from_json(sys.argv[2])
    channel = socket.socket(fileno=sys.stdin.fileno())
    decoder = PillowDecoder(
        formats=config.formats,
        max_pixels=config.max_pixels,
        reject_animations=config.reject_animations,
        fast=config.fast,
        centring=config.centring,
        viewing=config.viewing,
        pdq=PdqHasher() if config.pdq else None,
    )
    decoder.self_test()
    filtered = confine(
        memory_bytes=config.memory_bytes,
        lifetime_cpu_s=config.lifetime_cpu_s,
        parent_pid=config.parent_pid,
        threads="HEIF" in config.formats,  # libheif gives libde265 a thread of its own
    )
    # Again, and with room for the largest image. Anything that the confinement broke, or that the
    # surroundings withhold, should show here and not on every image.
    decoder.self_test()
    _check_room(config)
    channel.sendall(pack_ready(filtered=filtered))
    try:
        _serve(channel, config, wrap(decoder.decode))
    except MemoryError:
        # Nothing is reliable any more, not even the memory for an answer.
        os._exit(EXIT_OUT_OF_MEMORY)


def _keep_freed_memory() -> None:
    """Let glibc's allocator reuse an image's memory for the next image, up to a bound.

    By default the allocator returns the memory, and the kernel clears and maps each page anew:
    11,700 faults and a quarter of the time of a JPEG of 4000 x 3000 pixels. Other C libraries are
    not changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)  # Pillow's blocks are of 16 MiB
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, 1)  # a thread's own takes 64 MiB of address space


def _check_room(config: ChildConfig) -> None:
    """Map, without using it, the memory that the largest image may need. The mapping is read-only,
    so only the limit on address space counts it.

    Raises:
        MemoryError: a limit of the surroundings is lower than the configured one.
    """
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        mmap.mmap(-1, config.image_memory_bytes, flags=private, prot=mmap.PROT_READ).close()
    except OSError as error:
        raise MemoryError(
            f"decode.max_memory_mib = {config.memory_bytes // 2**20} leaves no room for the "
            "largest image; see `ulimit -v` where the worker starts"
        ) from error


def _serve(channel: socket.socket, config: ChildConfig, decode: Decode) -> None:
    while header := _receive(channel, REQUEST_BYTES):
        request = Request.unpack(header)
        body = _receive(channel, request.body_bytes)
        # The image's own limit of CPU time; the timer's default action ends the process. This is
        # the second line of defence: the parent's deadline comes first unless the parent is stuck.
        signal.setitimer(signal.ITIMER_PROF, config.image_cpu_s)
        reply, payload = _answer(decode, body, request, config)
        channel.sendall(reply.pack() + payload)


def _answer(
    decode: Decode, body: bytes, request: Request, config: ChildConfig
) -> tuple[Reply, bytes]:
    try:
        file = undo(body, request.codings, config.max_file_bytes)
        image = decode(file, request.resize, request.crop)
    except Refused as refusal:
        payload = refusal.detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES]
        index = 0 if refusal.format is None else FORMATS.index(refusal.format)
        return Reply(refusal.verdict, len(payload), format_index=index), payload
    reply = Reply(
        Verdict.DECODED,
        len(image.pixels),
        format_index=config.formats.index(image.format),
        width=image.width,
        height=image.height,
        frames=image.frames,
        pdq=image.pdq,
    )
    return reply, image.pixels


def _receive(channel: socket.socket, size: int) -> bytes:
    """Read exactly ``size`` bytes; empty if the parent has left."""
    parts = []
    while size > 0:
        part = channel.recv(size, socket.MSG_WAITALL)
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


if __name__ == "__main__":
    main()
