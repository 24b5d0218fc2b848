"""Images of requests: read with one retry, held in memory as they come, each failing by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Halt, Overloaded, PipelineError, Reject, Retry, StoreDenied, WorkerLost
from pipeline.fetch import Attempts, FetchPolicy, Stores
from pipeline.look import Look
from pipeline.metrics import FETCHED_BYTES, SERVE_REPLICA
from pipeline.ports import UNTRACED, ImageTrace, OnAnswer
from pipeline.priority import FIRST
from pipeline.records import DecodedImage, ImageGeometry, ImageRef, ObjectBody, Pixels, Vector
from tests.rigs.stages.at_no_cost import NullDecoder, NullEncoder
from tests.rigs.stages.fetching import store_of
from tests.rigs.virtual_time import LoopClock, run
from workers.serve.admission.memory import MemoryBudget
from workers.serve.caller import ANYBODY, Admitted, Caller, Scope
from workers.serve.errors import ApiError
from workers.serve.images import Images, Inline, Located, Seen

MAX_BYTES = 1_000
DEADLINE_S = 60.0


class Objects:
    """A store whose objects are what a test says: sizes, or failures in their order."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.announces = True
        self.latency_s = 0.1
        self.asked: list[str] = []

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: OnAnswer,
    ) -> ObjectBody:
        self.asked.append(key)
        await asyncio.sleep(self.latency_s)
        if self.failures.get(key):
            raise self.failures[key].pop(0)
        size_bytes = self.sizes[key]
        await on_answer(size_bytes if self.announces else None)
        await asyncio.sleep(self.latency_s)
        return ObjectBody(b"x" * size_bytes, f"etag of {key}", "v1")

    async def close(self) -> None: ...


class Decoding(NullDecoder):
    """Decoding that takes time, and notes how many bytes all requests hold meanwhile."""

    def __init__(self, memory: MemoryBudget) -> None:
        super().__init__(
            DecodePolicy(), MemoryMeter(SERVE_REPLICA), max_file_bytes=MAX_BYTES, min_share=0
        )
        self._memory = memory
        self.held: list[int] = []
        self.failures: dict[bytes, Exception] = {}

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        self.held.append(self._memory.held_bytes)
        await asyncio.sleep(1)
        if body in self.failures:
            raise self.failures[body]
        return await super().decode(body, geometry, content_encoding, level)


class Encoding:
    """Notes how many bytes all requests hold while an image waits for the model."""

    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self.held: list[int] = []
        self.failure: Exception | None = None

    async def encode(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> Vector:
        self.held.append(self._memory.held_bytes)
        if self.failure is not None:
            raise self.failure
        return np.ones(512, np.float32)

    async def encode_block(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> list[Vector | Reject]:
        return [await self.encode(each, level, trace) for each in pixels]


class Rig:
    def __init__(self, memory_bytes: int = 100 * MAX_BYTES) -> None:
        clock, self.meter = LoopClock(), MemoryMeter(SERVE_REPLICA)
        self.objects = Objects()
        self.memory = MemoryBudget(memory_bytes, self.meter)
        self.decoding, self.encoding = Decoding(self.memory), Encoding(self.memory)
        look = Look(
            self.decoding,
            self.encoding,
            NullEncoder(),
            DecodePolicy(),
            "float32",
            clock,
            self.meter,
        )
        stores = Stores([store_of(self.objects, lambda bucket: bucket == "images")])
        policy = FetchPolicy(max_bytes=MAX_BYTES, deadline_s=20)
        self.images = Images(look, Attempts(stores, policy, clock), self.meter, DEADLINE_S)
        self.admitted = self.admit(ANYBODY)

    def admit(self, caller: Caller) -> Admitted:
        return Admitted(caller, "request-1", self.memory.hold())

    async def outcomes(self, *images: Inline | Located) -> list[object]:
        """Codes of what failed, and what was seen."""
        outcomes = await self.images.seen_all(images, self.admitted)
        return [each if isinstance(each, Seen) else each.code for each in outcomes]


def stored(key: str, bucket: str = "images") -> Located:
    return Located(ImageRef(bucket, key, ()))


def failed() -> Retry:
    return Retry("fetch.failed", "s3: the body broke off")


def test_an_object_is_seen_with_what_its_store_says_of_it() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes["a"] = 70
        (seen,) = await rig.images.seen_all([stored("a")], rig.admitted)
        assert isinstance(seen, Seen)
        assert (seen.etag, seen.version_id, seen.looked.size_bytes) == ("etag of a", "v1", 70)
        assert (rig.admitted.images, rig.admitted.image_bytes) == (1, 70)
        assert rig.meter.value(FETCHED_BYTES) == 70

    run(main())


def test_outcomes_come_in_order_and_images_of_a_request_go_at_once() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes |= {"a": 70, "b": 80}
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first, missing, last, empty = await rig.outcomes(
            stored("a"), stored("a", "elsewhere"), Inline(b"image"), Inline(b"")
        )
        assert isinstance(first, Seen)
        assert isinstance(last, Seen)
        assert (missing, empty) == ("fetch.bucket_not_allowed", "fetch.empty")
        assert loop.time() - begun < 2  # decoding alone takes 1 s an image
        assert (rig.admitted.images, rig.admitted.image_bytes) == (2, 75)
        assert rig.admitted.outcomes == {"seen": 2, "fetch": 2}

    run(main())


def test_a_key_reads_only_the_objects_that_it_may_see() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes |= {"shop/a": 70, "other/a": 70}
        caller = Caller("shop", frozenset({Scope.CLASSIFY}), objects=("images/shop/*",))
        rig.admitted = rig.admit(caller)
        seen, refused = await rig.outcomes(stored("shop/a"), stored("other/a"))
        assert isinstance(seen, Seen)
        assert refused == "fetch.bucket_not_allowed"
        assert rig.objects.asked == ["shop/a"]

    run(main())


def test_a_failure_that_may_pass_gets_one_more_attempt() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes |= {"once": 70, "twice": 70}
        rig.objects.failures = {"once": [failed()], "twice": [failed(), failed()]}
        once, twice = await rig.outcomes(stored("once"), stored("twice"))
        assert isinstance(once, Seen)
        assert twice == "fetch.failed"
        assert sorted(rig.objects.asked) == ["once", "once", "twice", "twice"]
        assert rig.memory.held_bytes == 0

    run(main())


def test_a_store_that_asks_for_a_longer_wait_than_the_request_has_is_not_asked_again() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.failures["a"] = [Retry("fetch.failed", "s3: slow down", DEADLINE_S)]
        assert await rig.outcomes(stored("a")) == ["fetch.failed"]
        assert rig.objects.asked == ["a"]

    run(main())


def test_a_denied_object_is_the_requests_fault_and_is_not_asked_for_again() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.failures["a"] = [StoreDenied("fetch.forbidden", "s3: 403 AccessDenied")]
        (denied,) = await rig.images.seen_all([stored("a")], rig.admitted)
        assert isinstance(denied, Reject)
        assert denied.code == "fetch.forbidden"
        assert rig.objects.asked == ["a"]

    run(main())


@pytest.mark.parametrize("announces", [True, False])
def test_memory_is_held_for_what_comes_until_it_is_decoded(announces: bool) -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes["a"] = 70
        rig.objects.announces = announces
        await rig.outcomes(stored("a"))
        assert rig.decoding.held == [70]
        assert rig.encoding.held == [0]

    run(main())


def test_bytes_beside_the_body_count_and_those_of_the_body_do_not() -> None:
    async def main() -> None:
        rig = Rig()
        image = Inline(b"x" * 50, copied=True)
        await rig.outcomes(image, Inline(b"y" * 30))
        assert rig.decoding.held == [50, 50]
        assert rig.encoding.held[-1] == 0
        assert image.body == b""  # nothing keeps it

    run(main())


def test_images_of_a_request_wait_for_each_other_where_memory_is_short() -> None:
    async def main() -> None:
        rig = Rig(memory_bytes=2 * MAX_BYTES)
        rig.objects.announces = False
        rig.objects.sizes = {f"{number}": 70 for number in range(6)}
        outcomes = await rig.outcomes(*map(stored, rig.objects.sizes))
        assert all(isinstance(each, Seen) for each in outcomes)
        assert max(rig.decoding.held) <= 2 * MAX_BYTES
        assert rig.memory.held_bytes == 0

    run(main())


def test_a_request_without_room_in_memory_is_refused_as_a_whole() -> None:
    async def main() -> None:
        rig = Rig(memory_bytes=MAX_BYTES)
        other = rig.memory.hold()
        other.take(MAX_BYTES - 10)
        rig.objects.sizes |= {"small": 5, "large": 70}
        with pytest.raises(ApiError) as caught:
            await rig.outcomes(stored("small"), stored("large"))
        assert caught.value.status == 429
        with pytest.raises(ApiError):
            await rig.outcomes(Inline(b"x" * 20, copied=True))
        assert rig.memory.held_bytes == MAX_BYTES - 10

    run(main())


def test_a_request_that_is_gone_holds_nothing() -> None:
    async def main() -> None:
        rig = Rig()
        rig.objects.sizes |= {"a": 70, "b": 80}
        images: list[Inline | Located] = [stored("a"), stored("b"), Inline(b"x" * 50, copied=True)]
        request = asyncio.create_task(rig.images.seen_all(images, rig.admitted))
        await asyncio.sleep(0.5)  # of virtual time: all are being decoded
        assert rig.memory.held_bytes == 200
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert rig.memory.held_bytes == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_defect_that_one_image_brings_out_leaves_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        rig = Rig()
        rig.decoding.failures[b"odd"] = ZeroDivisionError("a secret")
        odd, fine = await rig.images.seen_all([Inline(b"odd"), Inline(b"fine")], rig.admitted)
        assert isinstance(odd, Reject)
        assert odd.code == "internal.unexpected"
        assert "secret" not in odd.message
        assert isinstance(fine, Seen)

    with caplog.at_level(logging.ERROR):
        run(main())
    (record,) = caplog.records
    assert "request-1" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize(
    "end",
    [
        lambda: Halt("encode.unusable", "the device is gone"),
        lambda: WorkerLost("encode.exhausted", "the device is lost"),
        lambda: Overloaded("encode.overloaded", "no room", 0.5),
        MemoryError,
    ],
)
def test_what_concerns_the_whole_replica_ends_the_request(end: Callable[[], Exception]) -> None:
    async def main() -> None:
        rig = Rig()
        rig.encoding.failure = end()
        rig.objects.sizes["slow"] = 70
        rig.objects.latency_s = 5
        with pytest.raises((PipelineError, MemoryError)) as caught:
            await rig.outcomes(Inline(b"a"), stored("slow"))
        assert caught.value is rig.encoding.failure
        assert rig.memory.held_bytes == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())
