"""A backfill's worker in a Ray actor, which stops where a test says."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unittest import mock

from pipeline.backfill.job import Job
from pipeline.ports import Folder
from tests.fault.backfill.holds import ENCODING, Holds
from tests.fault.backfill.model import Model
from tests.fault.backfill.steps import SteppedFolder
from workers.backfill import wiring
from workers.backfill.output import Output, open_output
from workers.backfill.wiring import BuiltBackfillWorker, build_backfill_worker
from workers.settings.loading import Settings


def build(
    folder: Path, output: Output, job: Job, settings: Settings, slot: int
) -> BuiltBackfillWorker:
    """With its first three arguments bound, a ``workers.cluster.actors.Build``. ``folder`` is that
    of the holds."""
    import ray

    holds = Holds(folder)
    node = ray.get_runtime_context().get_node_id()

    def stepped(given: Settings, place: Output) -> Folder:
        return SteppedFolder(open_output(given, place), lambda step, _: holds.reached(step, node))

    model = Model(partial(holds.reached, ENCODING, node))
    with mock.patch.object(wiring, "open_output", stepped):
        return build_backfill_worker(output, job, settings, slot, lambda _: model)
