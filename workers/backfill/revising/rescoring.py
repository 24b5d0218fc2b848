"""Scores a job's rows again with other label sets, from the embeddings in its data files: a child
job without fetching, decoding or encoding an image."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from pipeline.adapters.parquet.committed import CommittedFile
from pipeline.adapters.parquet.rescoring import rescore_failures, rescore_rows
from pipeline.backfill import layout
from pipeline.backfill.changes import Changes
from pipeline.backfill.committing import commit, committed_shards
from pipeline.backfill.job import Identity, Job, Source, read_job
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt, Reject
from pipeline.labels.scoring import CompiledLabelSets
from pipeline.ports import Encoder, Folder
from pipeline.records import Vector
from workers.backfill.revising.threads import in_threads
from workers.label_sets import ScoringRules, load_scoring
from workers.settings.loading import Settings
from workers.stages import another_model

KIND = "rescore"
"""``Source.kind`` of a job that scores another job's rows again."""


_READERS = 16
"""Small objects that are read at a time."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The job whose embeddings are read."""

    uri: str
    folder: Folder
    job: Job
    identity: Identity


def open_parent(folder: Folder, uri: str) -> Parent:
    """
    Raises:
        Halt: ``backfill.no_job``.
    """
    job, identity = read_job(folder), folder.read(layout.IDENTITY)
    if job is None or identity is None:
        raise Halt(
            "backfill.no_job",
            f"{uri}: has no {layout.JOB if job is None else layout.IDENTITY}; check the name, or "
            "run the job first",
        )
    return Parent(uri, folder, job, Identity.of_bytes(identity.body, layout.IDENTITY))


def rules_for(
    parent: Parent, settings: Settings, files: Sequence[Path], load: Callable[[Settings], Encoder]
) -> ScoringRules:
    """The label sets of ``files`` for the job's model. Prompts come from the cache; the model is
    loaded only for prompts that are not there.

    Raises:
        Halt: ``backfill.another_model``; a label set is not valid, or not for this model; the model
            cannot be loaded.
    """

    def encode_texts(prompts: Sequence[str]) -> Vector:
        encoder = load(_for_texts(settings))
        if (told := another_model(parent.identity.of_model, encoder.model)) is not None:
            raise Halt("backfill.another_model", told)
        return encoder.encode_texts(prompts)

    policy = settings.label_sets.model_copy(update={"paths": tuple(files)})
    return load_scoring(policy, parent.identity.of_model, encode_texts)


def child_of(parent: Parent, rules: ScoringRules) -> tuple[Job, Identity]:
    """The child job, new, and what computes its rows."""
    job = parent.job.model_copy(
        update={
            "id": str(uuid.uuid4()),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "clipstream_version": version("clipstream"),
            "source": Source(uri=parent.uri, kind=KIND, options=dict(rules.versions)),
            "parent": parent.uri,
        }
    )
    return job, parent.identity.model_copy(update={"label_sets": dict(rules.versions)})


def begin(folder: Folder, job: Job) -> Job:
    """Write the job, or read it if an earlier call did.

    Raises:
        Halt: ``backfill.another_rescore``: the output has another job.
    """
    if folder.create(layout.JOB, job.as_bytes()):
        return job
    found = read_job(folder)
    if found is None or (found.source, found.plan_hash) != (job.source, job.plan_hash):
        raise Halt(
            "backfill.another_rescore",
            f"{layout.JOB}: the output has another job; choose an empty output",
        )
    return found


class Rescorer:
    """Scores shards again. Thread-safe."""

    def __init__(
        self,
        parent: Parent,
        folder: Folder,
        job: Job,
        identity: Identity,
        scoring: CompiledLabelSets,
        policy: BackfillPolicy,
    ) -> None:
        """``folder`` is the child's, ``job`` the child, ``identity`` its own."""
        self._parent = parent
        self._folder = folder
        self._job = job
        self._identity = identity
        self._scoring = scoring
        self._policy = policy

    def shard(self, number: int) -> Summary:
        """Score a shard and commit it: its plan file and errors first, then what changed, then its
        data file, as every shard. Blocks for seconds.

        Raises:
            Halt: ``backfill.no_embeddings``, ``backfill.foreign_output``, ``backfill.unreadable``.
            StoreDenied, Retry: a store failed.
        """
        began_at, started = time.time(), time.monotonic()
        name = layout.data_file(number)
        file = CommittedFile(_read(self._parent.folder, name), name)
        if file.footer.job != self._parent.job.id:
            raise Halt("backfill.foreign_output", f"{name}: is of another job; restore the job's")
        if not file.has_embeddings:
            raise Halt(
                "backfill.no_embeddings",
                f"{self._parent.uri}: was run without embeddings; run the job anew with the other "
                "label sets",
            )
        if file.has_views and not file.has_view_embeddings:
            raise Halt(
                "backfill.no_embeddings",
                f"{self._parent.uri}: has rows with several views (decode.views: all), and was run "
                "without the embeddings of views (backfill.view_embeddings); run the job anew with "
                "the other label sets",
            )
        try:
            rescored = rescore_rows(
                file, self._scoring, number, store_schema=self._policy.store_schema
            )
        except Reject as reject:
            raise Halt("backfill.unreadable", f"{name}: {reject.message}") from reject
        plan = layout.plan_file(self._job.attempt, number)
        self._folder.write(plan, _read(self._parent.folder, plan))
        errors = self._failures(number, file.footer.errors_file)
        self._folder.write(layout.changes_file(number), rescored.changes.as_bytes())
        summary = file.footer.summary.model_copy(
            update={
                "seconds": time.monotonic() - started,
                "label_sets": rescored.summary.label_sets,
                "unknown_truth": rescored.summary.unknown_truth,
            }
        )
        footer = Footer(
            job=self._job.id,
            shard=number,
            attempt=uuid.uuid4().hex,
            plan_hash=self._job.plan_hash,
            errors_file=errors,
            clipstream_version=version("clipstream"),
            identity=self._identity,
            summary=summary,
            samples=rescored.samples,
            began_at=began_at,
            ended_at=time.time(),
            worker=f"{socket.gethostname()}/{os.getpid()}",
        )
        body = rescored.results.finish(footer.model_dump(mode="json"))
        commit(self._folder, name, body, footer.attempt, footer.plan_hash)
        return summary

    def committed(self, folder: Folder) -> set[int]:
        """The shards that are committed in the output of the child, or of the parent.

        Raises:
            Halt: ``backfill.foreign_output``.
            StoreDenied, Retry: the store failed.
        """
        return committed_shards(folder, self._job.shards, self._job.plan_hash)

    def changes(self) -> Changes:
        """What changed in all shards so far, written as ``changes.json``."""

        def of(number: int) -> Changes:
            name = layout.changes_file(number)
            return Changes.of_bytes(_read(self._folder, name), name)

        with ThreadPoolExecutor(_READERS) as pool:
            total = Changes.of_all(pool.map(of, sorted(self.committed(self._folder))))
        self._folder.write(layout.CHANGES, total.as_bytes())
        return total

    def _failures(self, number: int, errors_file: str | None) -> str | None:
        if errors_file is None:
            return None
        body = rescore_failures(
            _read(self._parent.folder, errors_file),
            self._scoring,
            self._parent.identity.label_sets,
        )
        name = layout.errors_file(number, hashlib.sha256(body).hexdigest())
        self._folder.write(name, body)
        return name


def rescored(
    rescorer: Rescorer,
    shards: Sequence[int],
    threads: int,
    stopping: threading.Event,
    beat: Callable[[], object],
) -> Iterator[Summary]:
    """Score shards, ``threads`` of them at a time, until ``stopping``. ``beat`` is called each
    second or more often.

    Raises:
        Halt, StoreDenied, Retry: as ``Rescorer.shard``. What was begun is finished first.
    """
    return in_threads((partial(rescorer.shard, shard) for shard in shards), threads, stopping, beat)


def _for_texts(settings: Settings) -> Settings:
    """Settings that load the model without measuring or calibrating what is of images alone."""
    model = settings.model.model_copy(update={"precision": "fp32", "calibration": None})
    return settings.model_copy(update={"model": model})


def _read(folder: Folder, name: str) -> bytes:
    found = folder.read(name)
    if found is None:
        raise Halt("backfill.unreadable", f"{name}: is gone; restore it, or run a new job")
    return found.body
