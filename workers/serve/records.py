"""Outcomes of requests as events: published before a request is answered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import Reject, Retry
from pipeline.events.served import ServedEvents, ServedImage
from pipeline.records import EventRecord, LabelSetResult
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline, Seen

RETRY_S = 1.0
"""Wait that is asked of a client whose outcomes could not be published."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One image of a request, what was seen in it or why nothing was, and what label sets say.

    ``results`` are empty where the request asked for an embedding only.
    """

    image: Given
    seen: Seen | BaseException
    results: Sequence[LabelSetResult] = ()


class Publisher(Protocol):
    """Where events of requests go."""

    async def publish(self, records: Sequence[EventRecord]) -> None:
        """Returns when all records are durable.

        Raises:
            Retry: they may not be; the same records may be published again.
            Halt, WorkerLost: no records can be published any more.
        """
        ...

    def close(self) -> None:
        """Publish nothing more. Blocks."""
        ...


class Records:
    """Publishes the outcomes of requests. Belongs to one event loop."""

    def __init__(self, publisher: Publisher, events: ServedEvents) -> None:
        self._publisher = publisher
        self._events = events

    async def publish(
        self,
        admitted: Admitted,
        route: str,
        answered: Sequence[Answered],
        *,
        own_labels: bool = False,
    ) -> None:
        """Publish what a request is about to be answered with. Call it after the last step that can
        fail, and before the answer.

        ``answered`` are the request's images in their order. An image that is neither seen nor
        failed for a reason of its own (``Reject``) or of its store's (``Retry``) has no outcome:
        the caller is to ask again. ``own_labels`` says that the request brought the labels.

        Raises:
            ApiError: 503 ``publish_failed``: the request must not be answered.
            Halt, WorkerLost: this replica cannot publish any more.
        """
        records: list[EventRecord] = []
        for index, each in enumerate(answered):
            if isinstance(each.seen, Seen | Reject | Retry):
                image = await _identity(admitted, route, index, each)
                records += self._events_of(image, each.seen, each.results, own_labels)
        if not records:
            return
        try:
            await self._publisher.publish(records)
        except Retry as failure:
            raise ApiError(
                503,
                "publish_failed",
                f"the outcome could not be recorded ({failure.code}), so there is no answer; try "
                "again with the same x-request-id",
                retry_after_s=RETRY_S,
            ) from failure

    def _events_of(
        self,
        image: ServedImage,
        seen: Seen | Reject | Retry,
        results: Sequence[LabelSetResult],
        own_labels: bool,
    ) -> Sequence[EventRecord]:
        match seen:
            case Seen():
                return self._events.looked_at(
                    image,
                    seen.looked,
                    results,
                    own_labels=own_labels,
                    etag=seen.etag,
                    version_id=seen.version_id,
                )
            case Reject():
                return (self._events.failed(image, seen.code, seen.format),)
            case Retry():
                return (self._events.failed(image, seen.code),)


async def _identity(admitted: Admitted, route: str, index: int, answered: Answered) -> ServedImage:
    given, seen = answered.image, answered.seen
    uri, sha256 = None, None
    if not isinstance(given, Inline):
        # A query may hold a signature. A question mark in a key of S3 begins none.
        uri = given.ref.uri if given.ref.scheme == "s3" else given.ref.uri.partition("?")[0]
    elif isinstance(seen, Seen):
        sha256 = seen.looked.sha256
    else:  # nobody has hashed it yet, and it may be large
        sha256 = await asyncio.to_thread(_sha256, given.body)
    return ServedImage(admitted.request_id, admitted.caller.name, route, index, uri, sha256)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
