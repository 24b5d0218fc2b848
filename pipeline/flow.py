"""The life of one image: fetch, decode, encode, score. The only per-image code path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol

from pydantic import Field

from pipeline.errors import Halt, Overloaded, Reject, ends_worker
from pipeline.labels import counting
from pipeline.look import Look, sha256_of
from pipeline.metrics import STAGE_SECONDS
from pipeline.policy import Policy, Tier
from pipeline.ports import UNTRACED, Clock, ImageTrace, Meter
from pipeline.priority import FIRST
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageRef,
    Looked,
    ObjectBody,
)
from pipeline.records.known import KnownMatch
from pipeline.rules import Knowing, Scoring

log = logging.getLogger(__name__)


class FlowPolicy(Policy):
    """How much one worker holds at a time."""

    tier = Tier.TUNING

    max_in_flight: int = Field(
        1024,
        description="References that are admitted and not yet committed. The worker pauses its "
        "partitions at this number.",
        gt=0,
    )
    max_pending_mib: Annotated[int, Tier.EXPERT] = Field(
        256,
        description="MiB of outcomes that wait in memory for their commit. The worker pauses its "
        "partitions at this size. Outcomes of references that were admitted before add to it.",
        gt=0,
    )


class Fetching(Protocol):
    """The fetch stage, with retries, deadlines and the breaker. An object counts as held in memory
    until the block ends. ``source`` says where the reference comes from."""

    def fetch(
        self, ref: ImageRef, level: int = FIRST, source: Hashable = None
    ) -> AbstractAsyncContextManager[ObjectBody]: ...


class Flow:
    """Fetches, looks and scores."""

    def __init__(
        self,
        fetching: Fetching,
        look: Look,
        clock: Clock,
        meter: Meter,
        known: Callable[[], Knowing | None] = lambda: None,
    ) -> None:
        """``known`` returns the lists of known pictures in force, or None if there are none."""
        self._fetching = fetching
        self._look = look
        self._clock = clock
        self._meter = meter
        self._known = known

    async def classify(
        self,
        ref: ImageRef,
        scoring: Scoring,
        level: int = FIRST,
        source: Hashable = None,
        trace: ImageTrace = UNTRACED,
        *,
        looked: Looked | None = None,
    ) -> Classification | DeadLetter:
        """One image from reference to outcome. Every failure of the image becomes a dead letter.

        ``scoring`` is the version of the label sets that was in force when the reference was
        routed. ``level`` says who goes first at each stage (``pipeline.priority``). References of
        one ``source`` that wait for their objects do not delay other sources. ``trace`` is told the
        stages: fetch, decode, queue, encode, score. ``looked`` is what was seen of another object
        with the same bytes: nothing is read then, and the outcome has the ETag and the version that
        ``ref`` names.

        Raises:
            Halt: the worker must stop; the reference has no outcome.
            Overloaded: a stage that was given a bound has no room; the reference has no outcome.
            WorkerLost, MemoryError, OSError: this process cannot go on; the reference has no
                outcome.
            asyncio.CancelledError: the partition was revoked or the worker stops.
        """
        matches: list[KnownMatch] = []
        try:
            return await self._classify(ref, scoring, level, source, trace, looked, matches)
        except Reject as reject:
            code, message, attempts = reject.code, reject.message, reject.attempts
            recognised = reject.format
        except (Halt, Overloaded):
            raise
        except Exception as error:
            if ends_worker(error):
                raise
            # A defect of ours that one image brought out must not stop the others. The dead letter
            # can be replayed once the defect is fixed.
            log.exception("an image failed unexpectedly")
            code, message, attempts = "internal.unexpected", f"{type(error).__name__}: {error}", 1
            recognised = None
        counting.count_known(matches, self._meter)
        return DeadLetter(
            code,
            message,
            attempts,
            ref=ref,
            unclassified_action=scoring.unclassified_action(ref.label_sets, matches),
            format=recognised,
            matches=tuple(matches),
        )

    async def _classify(
        self,
        ref: ImageRef,
        scoring: Scoring,
        level: int,
        source: Hashable,
        trace: ImageTrace,
        looked: Looked | None,
        matches: list[KnownMatch],
    ) -> Classification:
        """Adds to ``matches`` as soon as a list is found to have the image, so that they are known
        even if a later stage fails."""
        known = self._known()
        etag, version_id = ref.etag, ref.version_id
        if looked is None:
            trace.enter("fetch")
            async with self._fetching.fetch(ref, level, source) as fetched:
                trace.enter("decode")
                try:
                    opened = await self._look.decode(fetched.body, fetched.content_encoding, level)
                except Exception:
                    if known is not None:
                        matches += known.by_file(await sha256_of(fetched.body))
                    raise
                etag, version_id = fetched.etag, fetched.version_id
                del fetched
            if known is not None:
                matches += known.by_file(opened.sha256) + known.by_picture(opened.image.pdq)
            looked = await self._look.encode(opened, level, trace)
        elif known is not None:
            matches += known.by_file(looked.sha256) + known.by_picture(looked.pdq)
        trace.enter("score")
        started = self._clock.monotonic()
        if known is not None:
            matches += known.by_embedding(looked)
        results = scoring.judge(ref.label_sets, looked, matches)
        self._meter.observe(STAGE_SECONDS, self._clock.monotonic() - started, stage="score")
        counting.count(results, self._meter)
        counting.count_known(matches, self._meter)
        unheard = scoring.unheard(ref.label_sets, matches)
        return Classification(ref, looked, results, etag, version_id, tuple(matches), unheard)
