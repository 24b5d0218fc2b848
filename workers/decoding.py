"""Decoder processes for the time of a block, on the caller's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.adapters.decode.pool import MAX_FILE_BYTES, SandboxedDecoder
from pipeline.decode.policy import DecodePolicy
from pipeline.ports import Meter


@asynccontextmanager
async def decoding(
    policy: DecodePolicy,
    meter: Meter,
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    min_share: float = 0.0,
    pdq: bool = False,
) -> AsyncIterator[SandboxedDecoder]:
    """Decoder processes, started before the block and ended after it. The event loop's thread must
    live as long, because the processes end with that thread. ``pdq``: images come with their PDQ
    hash.

    Raises:
        Halt: ``decode.unavailable``.
    """
    decoder = SandboxedDecoder(
        policy, meter, max_file_bytes=max_file_bytes, min_share=min_share, pdq=pdq
    )
    try:
        await decoder.start()
        yield decoder
    finally:
        await decoder.close()
