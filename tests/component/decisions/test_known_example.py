"""The example of docs/decisions.md about known pictures is what the demo's model and a list make of
the page's files."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.memory.store import MemoryStore
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.events.families import classification_value
from pipeline.fetch import Store, Stores
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.records import Classification, ImageRef, Origin, Partition, Position
from tests.rigs.recorded import demo_encoder
from tests.rigs.root import ROOT
from workers.demo.accuracy import LABELS_FILE
from workers.demo.shapes import shape_image
from workers.known import knowing
from workers.label_sets import load_rules
from workers.settings.loading import Settings, load_settings
from workers.stages import stages

pytestmark = pytest.mark.component

SECTION = (ROOT / "docs/decisions.md").read_text().partition("## Act on known pictures")[2]
SHOWN = ("orange ring", "blue circle")
"""What the two files of the page's folder show."""


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None
    return found[1]


async def events(settings: Settings, folder: Path, *names: str) -> list[Any]:
    encoder = demo_encoder()
    rules = load_rules(settings, encoder.model, encoder.encode_texts)
    meter = PrometheusMeter(IMAGE_METRICS + STORE_METRICS)
    photos = MemoryStore()
    photos.create_bucket("photos")
    for name in names:
        photos.put("photos", name, (folder / name).read_bytes())
    own = Store("photos", "folder", lambda each: True, "the folder", photos)
    origin = Origin(Position(Partition("refs", 0), 0), 0, 0)
    values = []
    with knowing(settings, encoder.model, meter) as known:
        async with stages(settings, encoder, meter, Stores([own]), known=known) as path:
            for name in names:
                ref = ImageRef("photos", name, tuple(rules.versions), scheme="folder")
                outcome = await path.flow.classify(ref, rules.scoring)
                assert isinstance(outcome, Classification)
                values.append(classification_value(origin, outcome, "0", "", embeddings=False))
    return values


def test_the_list_of_the_page_raises_the_decision_of_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(7)
    for number, label in enumerate(SHOWN):
        shape_image(random, label, (240, 480)).save(tmp_path / f"photos/{number:02}.jpg")
    subprocess.run(block("sh"), shell=True, check=True)
    Path("lists/leaked.yaml").write_text(block("yaml"))
    settings = load_settings(
        flags={
            "s3.allowed_buckets": ["images"],
            "known.lists": ["lists"],
            "known.reload_interval_s": 0,
            "decode.processes": 1,
            "label_sets.paths": [str(LABELS_FILE)],
            "label_sets.text_cache_dir": "null",
        },
        environment={},
    )
    known, other = asyncio.run(events(settings, tmp_path / "photos", "00.jpg", "01.jpg"))
    (result,), (match,) = known["results"], known["matches"]
    assert match.pop("version").startswith("sha256:")
    shown = json.loads(block("json"))
    assert {key: result[key] for key in shown.keys() - {"matches"}} | {"matches": [match]} == shown
    assert "matches" not in other
    assert "raised" not in other["results"][0]
