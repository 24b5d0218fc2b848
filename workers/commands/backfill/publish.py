"""`clipstream backfill publish`: events of a job's committed shards to Kafka."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from functools import partial
from importlib.metadata import version

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.backfill.lanes import LanePublisher
from pipeline.adapters.kafka.backfill.topics import require_topics
from pipeline.adapters.kafka.recorded.label_sets import LabelSetRecords
from pipeline.adapters.label_files import load_sourced
from pipeline.backfill import layout
from pipeline.backfill.job import Identity, require_job
from pipeline.errors import Halt
from pipeline.events.backfill import BackfillEvents
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output
from workers.backfill.publishing import Commits, Destination, JobPublisher, Progress, lanes_of
from workers.backoff import Backoff
from workers.commands.signals import signals
from workers.settings.loading import Settings

log = logging.getLogger(__name__)


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
        record_label_sets(settings, folder)
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


def record_label_sets(settings: Settings, folder: Folder) -> None:
    """Publish the label sets that the job's events name, before the events. A label set whose file
    is not at hand, or is another version by now, is only warned of: the job is done.

    Raises:
        Halt: the topic of label sets may not be written.
        StoreDenied, Retry: the output's store, or Kafka, does not answer.
    """
    found = folder.read(layout.IDENTITY)
    if found is None or settings.kafka.output_topics.label_sets is None:
        return
    identity = Identity.of_bytes(found.body, layout.IDENTITY)
    try:
        near = load_sourced(settings.label_sets.paths)
    except Halt:  # none, or files of today that are not valid
        near = ()
    sourced = [
        each
        for each in near
        if identity.label_sets.get(each.label_set.name) == each.label_set.version
    ]
    LabelSetRecords(settings.kafka, version("clipstream")).publish(sourced, identity.of_model)
    for name in sorted(identity.label_sets.keys() - {each.label_set.name for each in sourced}):
        log.warning(
            "label set %s, version %s: label_sets.paths has no file of this version, so it is not "
            "published here; name the file that the job used",
            name,
            identity.label_sets[name],
        )
