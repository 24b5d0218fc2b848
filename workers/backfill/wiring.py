"""A backfill's worker built from settings: its composition root."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from pipeline import metrics
from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill import layout
from pipeline.backfill.committing import create_once
from pipeline.backfill.job import Identity, Job
from pipeline.ports import Encoder, Folder
from pipeline.records import ModelIdentity
from workers.backfill.output import Output, open_output
from workers.backfill.shard import ShardRunner
from workers.backfill.worker import AT_ONCE, BackfillWorker
from workers.endpoints.identity import EndpointId
from workers.endpoints.worker import MetricsEndpoint
from workers.event_loop import EventLoopThread
from workers.label_sets import load_rules
from workers.node_checks import require_node
from workers.settings.loading import Settings
from workers.stages import Stages, load_encoder, stages, tell_model

log = logging.getLogger(__name__)

KIND = "backfill"
"""The kind of a worker in a discovery file."""

START_S = 120.0
CLOSE_S = 15.0


class BuiltBackfillWorker:
    """A worker with everything it owns."""

    def __init__(self, worker: BackfillWorker, metrics_port: int | None, owned: ExitStack) -> None:
        self.worker = worker
        self.metrics_port = metrics_port
        self._owned = owned

    def close(self) -> None:
        self._owned.close()


def endpoint_of(settings: Settings, job: Job, slot: int) -> EndpointId:
    """Identity of a worker's endpoint. The label is not called ``job``, because Prometheus uses
    that for the scrape's own name."""
    return EndpointId(KIND, settings.instance, slot, {"backfill": job.id})


def build_backfill_worker(
    output: Output,
    job: Job,
    settings: Settings,
    slot: int,
    load: Callable[[Settings], Encoder] = load_encoder,
) -> BuiltBackfillWorker:
    """Load the model and start the decoders. Blocks for seconds to minutes.

    Raises:
        Halt: a person must act. ``backfill.another_identity``: rows would be computed in another
            way than the job's others.
    """
    with ExitStack() as owned:
        meter = PrometheusMeter(metrics.BACKFILL_WORKER)
        endpoint = MetricsEndpoint(
            meter.registry, settings.endpoints, endpoint_of(settings, job, slot)
        )
        owned.callback(endpoint.close)
        log.info("metrics on port %d", endpoint.port)
        require_node(settings)
        encoder = WatchedEncoder(load(settings), SystemClock())
        loop = EventLoopThread(f"images-{slot}")
        owned.callback(loop.close)
        path = owned.enter_context(loop.holding(stages(settings, encoder, meter), START_S, CLOSE_S))
        folder = open_output(settings, output)
        owned.callback(folder.close)
        runner = shard_runner(settings, encoder.model, path, folder, job)
        worker = BackfillWorker(
            loop,
            runner,
            lambda: path.fetcher.serving,
            encoder.call_age_s,
            SystemClock(),
            lambda: path.fetcher.trouble,
            meter,
        )
        tell_model(meter, encoder.model)
        return BuiltBackfillWorker(worker, endpoint.port, owned.pop_all())
    raise AssertionError("unreachable: nothing owned here suppresses exceptions")


def shard_runner(
    settings: Settings, model: ModelIdentity, path: Stages, folder: Folder, job: Job
) -> ShardRunner:
    """What runs the job's shards over a path.

    Raises:
        Halt: ``backfill.another_identity``.
    """
    rules = load_rules(settings, model, path.batcher.encode_texts)
    identity = Identity.of(
        model,
        decode_mode=settings.decode.mode,
        decode_crop=settings.decode.crop,
        embedding_dtype=settings.events.embedding_dtype,
        label_sets=rules.versions,
        decode_views=settings.decode.told_views,
    )
    require_identity(folder, identity)
    gpus = settings.workers.gpus_per_worker
    return ShardRunner(
        folder,
        job,
        identity,
        path.flow,
        rules,
        settings.backfill,
        max(1, settings.flow.max_in_flight // AT_ONCE),
        gpus=0.0 if gpus == "auto" else gpus,
    )


def require_identity(folder: Folder, here: Identity) -> None:
    """The first worker of a job says what computes its rows; all others must agree.

    Raises:
        Halt: ``backfill.another_identity``.
    """
    found = create_once(folder, layout.IDENTITY, here.as_bytes())
    Identity.of_bytes(found, layout.IDENTITY).require(here)
