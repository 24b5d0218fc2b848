"""Images known to be good tell a broken stage from bad images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.errors import Halt, Reject
from pipeline.priority import FIRST, PriorityQueue
from workers.event_loop import EventLoopThread
from workers.stream.trials import StageTrials

WAIT_S = 10.0


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    loop = EventLoopThread("trials")
    yield loop
    loop.close()


class Stages:
    """Look at an image, and read from one bucket."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure
        self.seen: list[bytes] = []
        self.levels: set[int] = set()

    async def look(
        self, body: bytes, content_encoding: str | None = None, level: int = FIRST
    ) -> None:
        self.seen.append(body)
        self.levels.add(level)
        if self._failure is not None:
            raise self._failure

    async def reads_from(self, bucket: str) -> bool:
        return bucket == "readable"


def trials(stages: Stages, loop: EventLoopThread) -> StageTrials:
    return StageTrials(stages.look, stages, loop, ("JPEG", "PNG"))


def test_one_good_image_of_each_format_is_looked_at(loop: EventLoopThread) -> None:
    stages = Stages()
    assert trials(stages, loop).good_images().result(WAIT_S)
    assert stages.seen == [GOOD_IMAGES["JPEG"], GOOD_IMAGES["PNG"]]


def test_good_images_wait_behind_no_other_image(loop: EventLoopThread) -> None:
    stages = Stages()
    assert trials(stages, loop).good_images().result(WAIT_S)
    (level,) = stages.levels
    waiting: PriorityQueue[str] = PriorityQueue(min_share=0.5)
    for number in range(100):
        waiting.push(f"live {number}", FIRST)
        waiting.push(f"backfill {number}", FIRST + 1)
    waiting.push("good", level)
    assert waiting.pop() == "good"


@pytest.mark.parametrize("code", ["decode.corrupt", "encode.failed"])
def test_a_good_image_that_is_rejected_says_that_a_stage_is_broken(
    code: str, loop: EventLoopThread
) -> None:
    stages = Stages(Reject(code, "no"))
    assert not trials(stages, loop).good_images().result(WAIT_S)
    assert len(stages.seen) == 1


def test_good_images_can_halt_like_any_other(loop: EventLoopThread) -> None:
    trial = trials(Stages(Halt("encode.unusable", "no")), loop).good_images()
    with pytest.raises(Halt):
        trial.result(WAIT_S)


def test_a_bucket_is_tried_by_reading_from_it(loop: EventLoopThread) -> None:
    tried = trials(Stages(), loop)
    assert tried.bucket("readable").result(WAIT_S)
    assert not tried.bucket("gone").result(WAIT_S)
