"""Draws the pictures of docs/images: ``python -m tests.component.console.pictures [FOLDER]``.

They show the real page in the real browser, with drawings of the demo as images.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page

from tests.rigs.root import ROOT
from tests.rigs.serve.browser import PHONE, chromium, visit
from tests.rigs.serve.console_server import console_server, drawing, load_encoder
from tests.rigs.serve.outcomes import classified, dead, letters_of, photo, surveyed
from tests.rigs.serve.scripted_api import ScriptedApi

IMAGES = ROOT / "docs/images"

PICTURES = (
    "console-playground.png",
    "console-live.png",
    "console-outcome.png",
    "console-dead-letters.png",
    "console-replay.png",
    "console-status.png",
    "console-dark.png",
    "console-phone.png",
)

LABELS = [
    "blue square",
    "yellow square",
    "orange star",
    "red cross",
    "purple ring",
    "white cross",
    "green circle",
    "blue triangle",
    "black ring",
    "red square",
    "yellow star",
    "purple square",
    "orange cross",
    "white circle",
    "green ring",
    "blue star",
    "red triangle",
    "orange square",
]


def main(folder: Path = IMAGES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        chromium() as browser,
        tempfile.TemporaryDirectory() as scratch,
        console_server(Path(scratch), load_encoder()) as (url, api),
    ):
        fill(url, api)
        draw(browser, url, folder)
    for name in PICTURES:
        # 256 colours are a third of the bytes, and nobody sees the difference.
        with Image.open(folder / name) as picture:
            small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(folder / name, optimize=True)


def fill(url: str, api: ScriptedApi) -> None:
    """A stream with something to show."""
    now = time.time()
    for index, label in enumerate(LABELS):
        at = now - 1.4 * (len(LABELS) - index)
        key = f"uploads/2026/11/{4711 + index:05}.jpg"
        if index == 9:
            api.publish(dead(key, "fetch.not_found", at))
        else:
            api.publish(classified(url, api, key, label, index, at))
    api.stats_every_s = 0.05
    api.rates = [0.6 + 0.3 * math.sin(step / 4) + 0.2 * math.sin(step) for step in range(80)]
    api.stats = {"rate": 0.7, "lag": 12, "age_s": 1.2, "dropped": 0}
    for index in range(3):
        api.images[f"uploads/2026/11/{4800 + index:05}.jpg"] = photo(LABELS[index], 40 + index)
    api.letters = surveyed(
        letters_of("fetch.not_found", 1204, 3, now - 340),
        letters_of("decode.truncated", 311, 2, now - 340),
        letters_of("decode.too_large", 42, 3, now - 1900),
        since=now - 86_400,
    )
    api.replay = {
        "would_send": 311,
        "skipped": {"replayed before": 17},
        "topics": {"image-references": 311},
        "token": "t-1",
    }
    replica = {"device": "torch-cuda", "state": "ready", "why": None}
    worker = {"driver": "stream-0", "device": "torch-cuda", "state": "ready"}
    api.status |= {
        "label_sets": [
            {"name": "shapes", "version": "sha256:42c0d0aa21f7", "changed_at": now - 7200},
            {"name": "signals", "version": "sha256:07ab8b150e9c", "changed_at": now - 500},
        ],
        "replicas": [
            {"id": "api#k3f9a", "node": "gpu-1", "in_flight": 7, "queue": 3, "images": 182_044},
            {"id": "api#p71cz", "node": "gpu-2", "in_flight": 5, "queue": 0, "images": 97_310},
        ],
        "workers": [
            worker | {"slot": slot, "committed": done, "lag": lag}
            for slot, done, lag in ((0, 1_204_411, 0), (1, 1_205_388, 12))
        ],
        "queues": {"encode": 3, "decode": 1, "in_hand": 12},
    }
    api.status["replicas"] = [replica | each for each in api.status["replicas"]]


def draw(browser: Browser, url: str, folder: Path) -> None:
    with visit(browser, url) as visitor:
        page = visitor.open()
        playground(page)
        page.screenshot(path=folder / "console-playground.png")
        live(visitor.open("live"))
        page.screenshot(path=folder / "console-live.png")
        page.locator(".outcome .name").nth(3).click()
        page.locator("dialog .thumbnail img").wait_for()
        page.screenshot(path=folder / "console-outcome.png")
        page.keyboard.press("Escape")
        visitor.open("dead-letters")
        page.locator('[data-code="decode.truncated"] summary').click()
        page.locator(".samples:visible").first.wait_for()
        page.locator("h1:visible").hover()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / "console-dead-letters.png")
        page.get_by_label("Choose decode.truncated for a replay").check()
        page.get_by_role("button", name="Preview replay").click()
        page.locator("dialog").wait_for()
        page.screenshot(path=folder / "console-replay.png")
        page.keyboard.press("Escape")
        visitor.open("status")
        page.get_by_role("heading", name="Workers of the stream").wait_for()
        page.screenshot(path=folder / "console-status.png")
    with visit(browser, url, color_scheme="dark") as visitor:
        playground(visitor.open())
        visitor.page.screenshot(path=folder / "console-dark.png")
    with visit(browser, url, PHONE, has_touch=True, device_scale_factor=1.5) as visitor:
        live(visitor.open("live"))
        visitor.page.screenshot(path=folder / "console-phone.png")


def playground(page: Page) -> None:
    page.get_by_label("Images", exact=True).set_input_files(
        [
            FilePayload(name=name, mimeType="image/png", buffer=drawing(label, seed, size))
            for name, label, seed, size in (
                ("street-sign.png", "red circle", 3, (600, 400)),
                ("kite.png", "purple star", 12, (400, 480)),
            )
        ]
    )
    page.get_by_label("Label set", exact=True).select_option("signals")
    page.get_by_role("button", name="Classify").click()
    page.locator("[data-state=done]").nth(1).wait_for()
    page.locator("[data-state=done] .seen-frame img").nth(1).wait_for()
    page.locator(".top").hover()


def live(page: Page) -> None:
    page.locator(".outcome .thumbnail img").nth(5).wait_for()
    page.locator(".sparkline polyline").wait_for(state="attached")
    page.locator(".stats").get_by_text("0.7", exact=True).wait_for()
    page.locator("h1:visible").hover()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
