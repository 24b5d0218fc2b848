"""A changed label-set file takes effect between two requests, and never within one."""

from __future__ import annotations

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.encode.policy import BatchPolicy
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.records import Pixels, Vector
from tests.rigs.serve.application import application, served
from tests.rigs.stages.decoding import as_file, noise
from workers.label_sets import LiveRules
from workers.serve.label_sets import own_label_set

pytestmark = [pytest.mark.component]

PATIENCE_S = 60


class HeldEncoder(MemoryEncoder):
    """Encodes images only while it may. It has threads enough to embed prompts meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.free = threading.Event()

    @property
    def lanes(self) -> int:
        return 8

    def encode_images(self, pixels: Pixels) -> Vector:
        self.begun.set()
        assert self.free.wait(PATIENCE_S)
        return super().encode_images(pixels)


def write(file: Path, *labels: str) -> None:
    file.write_text(yaml.safe_dump(own_label_set(list(labels), {"name": "pets"})))


def results_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [result for image in answer.json()["images"] for result in image["results"]]


def labels_of(results: list[dict[str, Any]]) -> list[list[str]]:
    return [[score["label"] for score in result["scores"]] for result in results]


def test_all_images_of_a_request_are_scored_by_the_label_sets_of_its_beginning(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pets.yaml"
    write(file, "cat", "dog")
    images = [base64.b64encode(as_file(noise(40, 30 + each))).decode() for each in range(3)]
    encoder = HeldEncoder()
    settings = served(
        label_sets=LabelSetsPolicy(paths=(file,), text_cache_dir=None, reload_interval_s=0),
        batch=BatchPolicy(max_size=1, max_wait_s=0),
    )

    async def main() -> None:
        async with application(settings, encoder) as (client, services):
            asked = {"images": images, "label_set": "pets"}
            before = asyncio.create_task(client.post("/v1/classify", json=asked))
            assert await asyncio.to_thread(encoder.begun.wait, PATIENCE_S)
            write(file, "cat", "dog", "bird")
            rules = services.rules
            assert isinstance(rules, LiveRules)
            for _ in range(2):  # a change that two looks have seen takes effect
                await asyncio.to_thread(rules.look)
            assert not before.done()
            encoder.free.set()
            old = results_of(await before)
            assert labels_of(old) == [["cat", "dog"]] * 3
            new = results_of(await client.post("/v1/classify", json=asked))
            assert labels_of(new) == [["cat", "dog", "bird"]] * 3
            assert {each["version"] for each in new} == {services.rules().versions["pets"]}
            assert {each["version"] for each in old}.isdisjoint(each["version"] for each in new)

    asyncio.run(main())
