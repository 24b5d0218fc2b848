"""Images of a request, each with its place in the request, and their scores."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import Reject
from pipeline.labels import counting
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.metrics import STAGE_SECONDS
from pipeline.records import LabelSetResult
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Failure, Given, Seen
from workers.serve.label_sets import OWN_NAME
from workers.serve.services import Services

RETRY_S = 1.0
"""Wait that is asked of a client whose image's store does not answer."""

OURS = ("encode.", "internal.")
"""Codes for which no client is to blame."""


async def look_at(
    services: Services, images: Sequence[tuple[str, Given]], admitted: Admitted
) -> list[Seen | ApiError]:
    """Each image, or what is wrong with it or its store, in order. ``images`` are their places in
    the request, such as ``input[3]``, and themselves.

    Raises:
        ApiError: 400: too many images; 429: there is no room for them.
        Overloaded, Halt, WorkerLost, MemoryError, OSError: as ``Images.seen_all``.
    """
    require_few(len(images), services.settings.serve.max_images)
    with services.room.taken(len(images), admitted):
        outcomes = await services.images.seen_all([image for _, image in images], admitted)
    return [
        outcome if isinstance(outcome, Seen) else failed(outcome, param)
        for (param, _), outcome in zip(images, outcomes, strict=True)
    ]


def scores_of(
    seen: Seen, label_sets: Sequence[CompiledLabelSet], services: Services
) -> tuple[LabelSetResult, ...]:
    """What each label set says of an image.

    Raises:
        Reject: ``encode.non_finite``.
    """
    started = services.clock.monotonic()
    results = tuple(label_set.judge(seen.looked) for label_set in label_sets)
    services.meter.observe(STAGE_SECONDS, services.clock.monotonic() - started, stage="score")
    # A client chooses the names of its own labels, and would choose names of series.
    ours = (result for result in results if result.label_set != OWN_NAME)
    counting.count(ours, services.meter)
    return results


def require_few(images: int, most: int, param: str | None = None) -> None:
    """Refuse a request with too many images.

    Raises:
        ApiError: 400 ``too_many_images``.
    """
    if images > most:
        raise ApiError(
            400,
            "too_many_images",
            f"{images} images exceed serve.max_images = {most}; send fewer at a time",
            param=param,
        )


def failed(failure: Failure, param: str | None = None) -> ApiError:
    """What is answered for an image that could not be looked at, and its store. ``param`` names
    the image in the request."""
    if isinstance(failure, Reject):
        status = 500 if failure.code.startswith(OURS) else 400
        return ApiError(status, failure.code, failure.message, param=param)
    wait_s = failure.retry_after_s or RETRY_S
    return ApiError(503, failure.code, failure.message, param=param, retry_after_s=wait_s)
