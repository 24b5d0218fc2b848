"""A backfill's worker whose objects, decoder and model cost nothing, or a fixed time a batch."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

from pipeline.backfill.job import Job
from pipeline.fetch import Store, Stores
from pipeline.ports import Encoder, Meter
from tests.rigs.stages.at_no_cost import FixedTimeEncoder, NullDecoder, NullStore
from workers import decoding
from workers.backfill import wiring
from workers.backfill.output import Output
from workers.backfill.wiring import BuiltBackfillWorker, build_backfill_worker
from workers.settings.loading import Settings
from workers.stages import Stages, stages


@asynccontextmanager
async def stages_at_no_cost(
    settings: Settings, encoder: Encoder, meter: Meter
) -> AsyncIterator[Stages]:
    store = Store("null", "s3", lambda bucket: True, "nothing", NullStore(None))
    async with stages(settings, encoder, meter, Stores([store])) as path:
        yield path


def build(
    pids: Path, batch_s: float, output: Output, job: Job, settings: Settings, slot: int
) -> BuiltBackfillWorker:
    """With its first four arguments bound, a ``workers.cluster.actors.Build``. The id of the
    worker's process is put into the folder ``pids``; a batch takes ``batch_s``."""
    (pids / f"worker-{slot}").write_text(str(os.getpid()))
    with (
        mock.patch.object(decoding, "SandboxedDecoder", NullDecoder),
        mock.patch.object(wiring, "stages", stages_at_no_cost),
    ):
        return build_backfill_worker(
            output, job, settings, slot, lambda _: FixedTimeEncoder(batch_s)
        )
