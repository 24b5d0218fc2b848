"""One attempt to read an object, for callers that cannot wait."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import Halt, PipelineError, Reject, Retry, StoreDenied
from pipeline.fetch import Attempts, Stores
from tests.rigs.stages.fetching import (
    POLICY,
    Behaviour,
    ScriptedStore,
    break_off,
    hang,
    miss,
    now,
    reference,
    refuse,
    store_of,
)
from tests.rigs.virtual_time import LoopClock, run


def attempts_on(store: ScriptedStore) -> Attempts:
    images = store_of(store, lambda bucket: bucket == "images")
    return Attempts(Stores([images]), POLICY, LoopClock())


def test_an_object_is_read_under_the_size_limit() -> None:
    async def main() -> None:
        store = ScriptedStore()
        assert (await attempts_on(store).read(reference("a"))).body == b"image"
        assert store.wanted == [("v1", "e1", POLICY.max_bytes)]

    run(main())


def test_a_bucket_that_is_not_allowed_is_not_asked_for() -> None:
    async def main() -> None:
        store = ScriptedStore()
        with pytest.raises(Reject) as caught:
            await attempts_on(store).read(reference("a", bucket="secrets"))
        assert caught.value.code == "fetch.bucket_not_allowed"
        assert store.asked == []

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        (miss, Reject, "fetch.not_found"),
        (refuse, StoreDenied, "fetch.forbidden"),
        (break_off, Retry, "fetch.failed"),
        (hang, Retry, "fetch.timeout"),
    ],
)
def test_a_store_that_is_down_fails_one_request_with_its_type_however_often_it_is_tried(
    behaviour: Behaviour, kind: type[PipelineError], code: str
) -> None:
    async def main() -> None:
        store = ScriptedStore()
        store.outage = behaviour
        attempts = attempts_on(store)
        for number in range(20):
            begun = now()
            with pytest.raises(kind) as caught:
                await attempts.read(reference(f"image-{number}"))
            assert caught.value.code == code
            assert now() - begun <= POLICY.attempt_s
            assert len(store.asked) == number + 1

    run(main())


def test_a_halt_of_the_store_is_passed_on() -> None:
    async def halt() -> bytes:
        raise Halt("s3.no_credentials", "s3: no credentials")

    async def main() -> None:
        store = ScriptedStore()
        store.outage = halt
        with pytest.raises(Halt):
            await attempts_on(store).read(reference("a"))

    run(main())


def test_what_the_caller_waits_for_before_it_takes_the_bytes_is_not_the_stores_time() -> None:
    async def main() -> None:
        store = ScriptedStore()

        async def wait_for_memory(_: int | None = None) -> None:
            await asyncio.sleep(10 * POLICY.deadline_s)

        body = await attempts_on(store).read(reference("a"), wait_for_memory)
        assert body.body == b"image"
        store.latency_s = 2 * POLICY.attempt_s
        with pytest.raises(Retry, match=r"fetch\.deadline_s = 30"):
            await attempts_on(store).read(reference("a"), wait_for_memory)

    run(main())
