"""`clipstream` on a node whose libraries are broken: the S3 client fails on one object, and the
decoders crash on one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import obstore

from pipeline.adapters.decode.pool import SandboxedDecoder
from tests.rigs.root import ROOT
from workers import decoding
from workers.cli import app
from workers.commands import stream
from workers.settings.loading import Settings
from workers.stream.wiring import BuiltStreamWorker, build_stream_worker

UNREADABLE = "defective/image"
"""The key on which the S3 client fails."""

CRASHING = b"fault:crash:"
"""The file on which decoders crash."""

DECODER: Path = ROOT / "tests/component/decoder_with_faults.py"


def build(settings: Settings, slot: int) -> BuiltStreamWorker:
    """Implements ``workers.cluster.actors.Build``; runs in the worker's process."""
    get = obstore.get_async

    async def failing(store: Any, path: str, **options: Any) -> Any:
        if path.startswith("defective/"):
            raise RuntimeError("a panic of the library")
        return await get(store, path, **options)

    vars(obstore).update(get_async=failing)
    vars(decoding).update(SandboxedDecoder=partial(SandboxedDecoder, program=DECODER))
    return build_stream_worker(settings, slot)


def main() -> None:
    # Under its own name, by which the workers' processes find it.
    from tests.fault.alerts import broken_library

    vars(stream).update(build_stream_worker=broken_library.build)
    app()


if __name__ == "__main__":
    main()
