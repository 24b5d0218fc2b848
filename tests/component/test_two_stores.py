"""Two real S3 servers with credentials and regions of their own, behind one fetch stage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.s3.admin import S3Admin
from pipeline.errors import Retry
from pipeline.fetch import Attempts, Fetcher
from pipeline.metrics import BREAKER_OPEN, IMAGE_METRICS, STORE_BREAKER_OPEN, STORE_METRICS
from pipeline.ports import CheckResult
from pipeline.records import ImageRef, ObjectBody
from tests.rigs.waiting import WAIT_S, eventually
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings
from workers.stores import fetching_of, open_stores

HERE, ELSEWHERE = f"here-{uuid.uuid4().hex}", f"elsewhere-{uuid.uuid4().hex}"
OBJECTS = 20


class OtherServer(VersityS3):
    region = "eu-central-1"
    access_key = "elsewhere"
    secret_key = "known-elsewhere-alone"


@dataclass(frozen=True)
class World:
    settings: Settings
    other: S3Server


@pytest.fixture(scope="module")
def world(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("two-stores")
    with OtherServer(folder / "other") as other, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        servers = {"here": s3_server, "elsewhere": other}
        (folder / "credentials").write_text(
            "".join(
                f"[{name}]\naws_access_key_id = {server.access_key}\n"
                f"aws_secret_access_key = {server.secret_key}\n"
                for name, server in servers.items()
            )
        )
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
        environment.setenv("AWS_CONFIG_FILE", str(folder / "none"))

        def store(name: str, bucket: str) -> dict[str, object]:
            server = servers[name]
            return {
                "endpoint": server.endpoint,
                "region": server.region,
                "profile": name,
                "allowed_buckets": [bucket],
            }

        settings = Settings.model_validate(
            {
                "s3": store("here", HERE),
                "stores": [store("elsewhere", ELSEWHERE) | {"name": "elsewhere"}],
                "retry": {"first_wait_s": 0.05, "longest_wait_s": 0.2},
                "breaker": {"failures": 2, "open_s": 0.1},
            }
        )
        for bucket, policy in zip((ELSEWHERE, HERE), settings.s3_stores, strict=True):
            with contextlib.closing(S3Admin(policy)) as admin:
                admin.create_bucket(bucket)
                for number in range(OBJECTS):
                    admin.put(bucket, str(number), bucket.encode())
        yield World(settings, other)


def ref(bucket: str, number: int) -> ImageRef:
    return ImageRef(bucket, str(number), ("general",))


async def fetch(fetcher: Fetcher, bucket: str, number: int) -> ObjectBody:
    async with fetcher.fetch(ref(bucket, number), source=bucket) as body:
        return body


def start(fetcher: Fetcher, bucket: str) -> list[asyncio.Task[ObjectBody]]:
    return [asyncio.create_task(fetch(fetcher, bucket, number)) for number in range(OBJECTS)]


async def bodies(tasks: list[asyncio.Task[ObjectBody]]) -> set[bytes]:
    return {each.body for each in await asyncio.gather(*tasks)}


def test_each_bucket_is_read_from_its_own_server_with_its_credentials_and_region(
    world: World,
) -> None:
    settings = world.settings

    async def main() -> None:
        stores = await open_stores(settings)
        attempts = Attempts(stores, settings.fetch, SystemClock())
        for bucket in (HERE, ELSEWHERE):
            assert (await attempts.read(ref(bucket, 0))).body == bucket.encode()
        await stores.close()
        (elsewhere,) = settings.stores
        for of_the_other in ({"profile": "here"}, {"region": settings.s3.region}):
            mixed_up = elsewhere.model_copy(update=of_the_other)
            stores = await open_stores(settings.model_copy(update={"stores": (mixed_up,)}))
            with pytest.raises(Retry, match=r"stores\[elsewhere\]: the store answered 4"):
                await Attempts(stores, settings.fetch, SystemClock()).read(ref(ELSEWHERE, 0))
            await stores.close()

    asyncio.run(main())


def test_the_checks_of_each_store_pass_with_its_own_settings_alone(world: World) -> None:
    for policy in world.settings.s3_stores:
        with contextlib.closing(S3Admin(policy)) as admin:
            assert {check.result for check in admin.check()} == {CheckResult.PASSED}


def test_an_outage_of_one_server_stops_no_object_of_the_other(world: World) -> None:
    async def main() -> None:
        meter = MemoryMeter((*IMAGE_METRICS, *STORE_METRICS))

        def is_open(store: str | None = None) -> bool:
            if store is None:
                return meter.value(BREAKER_OPEN) == 1
            return meter.value(STORE_BREAKER_OPEN, store=store) == 1

        async with asyncio.timeout(WAIT_S):
            stores = await open_stores(world.settings)
            fetcher = fetching_of(world.settings, stores, SystemClock(), meter)
            assert await bodies(start(fetcher, HERE)) == {HERE.encode()}
            assert await bodies(start(fetcher, ELSEWHERE)) == {ELSEWHERE.encode()}
            world.other.kill()
            waiting = start(fetcher, ELSEWHERE)
            await asyncio.to_thread(eventually, is_open)
            for _ in range(5):
                assert await bodies(start(fetcher, HERE)) == {HERE.encode()}
            assert (is_open("elsewhere"), is_open("s3")) == (True, False)
            assert fetcher.available
            assert fetcher.sources_aside == {ELSEWHERE}
            assert not any(task.done() for task in waiting)
            await asyncio.to_thread(world.other.start)
            assert await bodies(waiting) == {ELSEWHERE.encode()}
            assert not is_open("elsewhere")
            assert not is_open()
            await fetcher.close()

    asyncio.run(main())
