"""The stores of the per-image path: who closes them when the path does not come up."""

from __future__ import annotations

import asyncio
from typing import Never

import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from pipeline.fetch import Stores
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import Clock, Meter
from tests.rigs.stages.fetching import ScriptedStore, store_of
from workers import stages as path
from workers import stores as opening
from workers.settings.loading import Settings
from workers.stores import open_stores


class Opened(ScriptedStore):
    """A store that says whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    async def close(self) -> None:
        self.closed = True


def settings_of(*names: str) -> Settings:
    stores = [{"name": name, "allowed_buckets": [f"{name}-1"]} for name in names]
    return Settings.model_validate({"stores": stores})


async def come_up(stores: Stores | None) -> None:
    async with path.stages(Settings(), MemoryEncoder(), MemoryMeter(IMAGE_METRICS), stores):
        raise AssertionError("the path has come up")


def test_no_store_is_opened_if_none_is_configured() -> None:
    with pytest.raises(Halt, match=r"s3\.allowed_buckets: is empty") as caught:
        asyncio.run(open_stores(Settings()))
    assert caught.value.code == "settings.invalid"
    with pytest.raises(Halt, match=r"s3\.allowed_buckets: is empty"):
        asyncio.run(come_up(None))


def test_stores_are_closed_if_a_later_one_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Opened] = []

    def open_one(policy: S3Policy) -> Opened:
        if policy.store_name == "c":
            raise Halt("s3.no_credentials", "s3: no credentials anywhere")
        opened.append(Opened())
        return opened[-1]

    monkeypatch.setattr(opening, "ObstoreS3", open_one)
    with pytest.raises(Halt, match="no credentials"):
        asyncio.run(open_stores(settings_of("a", "b", "c")))
    assert [store.closed for store in opened] == [True, True]


def test_given_stores_are_used_even_if_empty_and_closed_if_the_fetch_stage_cannot_be_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Stores] = []

    def fail(_: Settings, stores: Stores, __: Clock, ___: Meter) -> Never:
        given.append(stores)
        raise MemoryError("no memory")

    monkeypatch.setattr(path, "fetching_of", fail)
    store, nothing = Opened(), Stores([])
    with pytest.raises(MemoryError):
        asyncio.run(come_up(Stores([store_of(store)])))
    assert store.closed
    with pytest.raises(MemoryError):
        asyncio.run(come_up(nothing))
    assert given[-1] is nothing
