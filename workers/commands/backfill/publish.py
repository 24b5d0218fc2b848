"""`clipstream backfill publish`: events of a job's committed shards to Kafka."""

from __future__ import annotations

import contextlib
import random
import threading
from functools import partial
from importlib.metadata import version

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.backfill.lanes import LanePublisher
from pipeline.adapters.kafka.backfill.topics import require_topics
from pipeline.backfill.job import require_job
from pipeline.events.backfill import BackfillEvents
from workers.backfill.output import Output, open_output
from workers.backfill.publishing import Commits, Destination, JobPublisher, Progress, lanes_of
from workers.backoff import Backoff
from workers.commands.signals import signals
from workers.settings.loading import Settings


def run_publish(settings: Settings, output: str, share: str, *, again: bool = False) -> Progress:
    """Publish what is committed, until that is done or a signal comes.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store, or Kafka, failed before anything was published.
    """
    lanes = lanes_of(share)
    topics = settings.backfill.topics
    stopping = threading.Event()
    with (
        signals(stopping),
        contextlib.closing(open_output(settings, Output.of(output))) as folder,
    ):
        job = require_job(folder, output)
        with KafkaAdmin(settings.kafka) as admin:
            cluster = require_topics(admin, topics)
        open_lane = partial(LanePublisher, settings.kafka, settings.delivery, topics, job.id)
        publisher = JobPublisher(
            folder,
            job,
            Destination(cluster, topics.marks, open_lane),
            BackfillEvents(settings.events, version("clipstream")),
            Commits(
                settings.delivery.max_outcomes_per_commit,
                settings.delivery.max_mib_per_commit * 1024 * 1024,
            ),
            Backoff(SystemClock(), random.Random()),  # noqa: S311 - jitter, no secret
            stopping.wait,
        )
        return publisher.run(lanes, again=again)
