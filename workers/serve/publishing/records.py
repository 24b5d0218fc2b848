"""Outcomes of requests as events: published before a request is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import Reject, Retry
from pipeline.events import EventsPolicy
from pipeline.events.served import ServedEvents, ServedImage
from pipeline.records import EventRecord, LabelSetResult
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline, Seen

RETRY_S = 1.0
"""Wait that is asked of a client whose outcomes could not be published."""


Outcome = Seen | Reject | Retry | ApiError
"""An image that was looked at, or what is wrong with it or its store."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One image of a request, what was seen in it or why nothing was, and what label sets say.

    ``results`` are empty where the request asked for an embedding only.
    """

    image: Given
    outcome: Outcome
    results: tuple[LabelSetResult, ...] = ()


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
    """Publishes the outcomes of requests, or nothing without a publisher. Belongs to one event
    loop."""

    def __init__(self, publisher: Publisher | None, events: ServedEvents) -> None:
        self._publisher = publisher
        self._events = events

    async def publish(
        self,
        admitted: Admitted,
        route: str,
        answered: Mapping[int, Answered],
        *,
        own_labels: bool = False,
    ) -> None:
        """Publish what became of the images of a request. Call it when nothing else can fail, and
        before the answer, also if the answer is an image's error.

        ``answered`` has the images by their place in the request. ``own_labels`` says that the
        request brought the labels.

        Raises:
            ApiError: 503 ``publish_failed``: the request must not be answered.
            Halt, WorkerLost: this replica cannot publish any more.
        """
        if self._publisher is None:
            return
        records = [
            record
            for index, each in answered.items()
            for record in self._of(_identity(admitted, route, index, each.image), each, own_labels)
        ]
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

    def _of(
        self, image: ServedImage, answered: Answered, own_labels: bool
    ) -> Sequence[EventRecord]:
        outcome = answered.outcome
        if not isinstance(outcome, Seen):
            return (self._events.failed(image, outcome.code),)
        return self._events.looked_at(
            image,
            outcome.looked,
            answered.results,
            own_labels=own_labels,
            etag=outcome.etag,
            version_id=outcome.version_id,
        )


def _identity(admitted: Admitted, route: str, index: int, image: Given) -> ServedImage:
    uri, sha256 = None, None
    if isinstance(image, Inline):
        sha256 = image.sha256
    else:
        uri = image.ref.uri  # without the query, which may hold a signature
    return ServedImage(admitted.request_id, admitted.caller.name, route, index, uri, sha256)


SILENT = Records(None, ServedEvents(EventsPolicy(), ""))
"""Publishes nothing."""
