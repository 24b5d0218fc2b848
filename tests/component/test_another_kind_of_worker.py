"""The per-image path runs anywhere: a worker on a folder of files, without Kafka, Ray or S3."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.fetch import Store, Stores
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.records import Classification, ImageRef, ObjectBody
from tests.rigs.root import ROOT
from tests.rigs.stages.decoding import as_file, noise
from workers.label_sets import load_rules
from workers.settings.loading import Settings
from workers.stages import stages

pytestmark = [pytest.mark.component]

LABEL_SET = ROOT / "deploy/examples/label-sets/general-objects.yaml"


class Folder:
    """Implements ``pipeline.ports.ObjectStore``: buckets are folders, keys their files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        path = self._root / bucket / key
        if not path.is_file():
            raise Reject("fetch.not_found", f"fetch: no file {key}")
        await on_answer()
        return ObjectBody(path.read_bytes(), None, None)

    async def close(self) -> None: ...


async def classify_folder(root: Path, bucket: str, *names: str) -> list[str]:
    settings = Settings(
        label_sets=LabelSetsPolicy(paths=(LABEL_SET,)),
        decode=DecodePolicy(processes=1),
    )
    encoder = MemoryEncoder()
    rules = load_rules(settings, encoder.model, encoder.encode_texts)
    versions = tuple(rules.versions)
    refs = [ImageRef(bucket, name, versions, scheme="folder") for name in names]
    own = Store("photos", "folder", lambda each: each == bucket, "the folder", Folder(root))
    meter = PrometheusMeter(IMAGE_METRICS + STORE_METRICS)
    async with stages(settings, encoder, meter, Stores([own])) as path:
        outcomes = await asyncio.gather(*(path.flow.classify(ref, rules.scoring) for ref in refs))
    return [
        f"{outcome.ref.key}: {outcome.looked.image.width} px, {outcome.results[0].label_set}"
        if isinstance(outcome, Classification)
        else f"{outcome.ref and outcome.ref.key}: {outcome.code}"
        for outcome in outcomes
    ]


def test_files_of_a_folder_are_classified_or_dead_lettered(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "good.png").write_bytes(as_file(noise(40, 30)))
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    outcomes = classify_folder(tmp_path, "photos", "good.png", "notes.txt", "gone.png")
    assert asyncio.run(outcomes) == [
        "good.png: 40 px, general-objects",
        "notes.txt: decode.unsupported_format",
        "gone.png: fetch.not_found",
    ]
