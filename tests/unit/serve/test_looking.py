"""What becomes of several images of one request."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.errors import Reject, Retry
from workers.serve.caller import ANYBODY, Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Inline
from workers.serve.looking import look_at
from workers.serve.services import Services
from workers.settings.serve import ServePolicy


def looked_at(*outcomes: Any) -> tuple[list[Any], list[int]]:
    """What is told of images with these outcomes, and for how many there had to be room."""
    rooms: list[int] = []

    def taken(images: int, _: Admitted) -> AbstractContextManager[None]:
        rooms.append(images)
        return nullcontext()

    async def seen_all(*_: Any) -> list[Any]:
        return list(outcomes)

    services = SimpleNamespace(
        settings=SimpleNamespace(serve=ServePolicy(max_images=3)),
        room=SimpleNamespace(taken=taken),
        images=SimpleNamespace(seen_all=seen_all),
    )
    images = [(f"input[{place}]", Inline(b"image")) for place in range(len(outcomes))]
    admitted = Admitted(ANYBODY, "test", cast(Any, None))
    return asyncio.run(look_at(cast(Services, services), images, admitted)), rooms


@pytest.mark.parametrize(
    ("failure", "status", "wait_s"),
    [
        (Reject("decode.corrupt", "the file ends early"), 400, None),
        (Reject("encode.non_finite", "not finite"), 500, None),
        (Retry("fetch.unavailable", "no answer"), 503, 1.0),
        (Retry("fetch.unavailable", "no answer", retry_after_s=7.0), 503, 7.0),
    ],
    ids=["its own fault", "ours", "the store's", "the store's, which says when"],
)
def test_a_failure_names_its_image_and_whose_fault_it_is(
    failure: Reject | Retry, status: int, wait_s: float | None
) -> None:
    (told,), rooms = looked_at(failure)
    assert isinstance(told, ApiError)
    assert (told.status, told.code, told.param) == (status, failure.code, "input[0]")
    assert told.retry_after_s == wait_s
    assert rooms == [1]


def test_too_many_images_are_refused_before_any_is_looked_at() -> None:
    with pytest.raises(ApiError, match="4 images, more than 3") as refused:
        looked_at(*[Retry("fetch.unavailable", "no answer")] * 4)
    assert (refused.value.status, refused.value.code) == (400, "too_many_images")
