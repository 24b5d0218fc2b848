"""Draws the pictures of docs/decisions.md: ``python -m tests.component.decisions.pictures FOLDER``,
where FOLDER holds the reports that the page's commands write."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from tests.rigs.root import ROOT
from tests.rigs.serve.browser import chromium

IMAGES = ROOT / "docs/images"
PICTURES = {
    "labels-test.png": "test.html",
    "labels-groups.png": "groups.html#by-colour",
    "labels-tune.png": "tune.html",
    "labels-calibrate.png": "calibrate.html",
    "labels-train-head.png": "head.html",
    "labels-wordings.png": "wordings.html",
    "evaluate.png": "evaluate.html",
}
HEIGHTS_PX = {
    "labels-test.png": 2080,
    "labels-groups.png": 900,
    "labels-tune.png": 1560,
    "labels-calibrate.png": 1000,
    "labels-train-head.png": 1000,
    "labels-wordings.png": 800,
    "evaluate.png": 1010,
}
WIDTH_PX = 1180


def main(reports: Path) -> None:
    with chromium() as browser:
        for name, report in PICTURES.items():
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHTS_PX[name]})
            file, _, part = report.partition("#")
            address = (reports / file).resolve().as_uri()
            page.goto(address)
            if page.locator("#clear").count():
                page.check("#clear")
            page.goto(f"{address}#{part}")
            page.screenshot(path=IMAGES / name)
            # 256 colours are a third of the bytes, and nobody sees the difference.
            with Image.open(IMAGES / name) as picture:
                small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            small.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
