"""The console's own rules in node: they are those of the server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.decode.crop import Crop
from pipeline.labels.label_set import Decision, Label, LabelSet, Threshold
from tests.rigs.root import ROOT
from workers.serve.console.pages import STATIC

pytestmark = [pytest.mark.component]

NODE = shutil.which("node")
if NODE is None:
    pytest.skip("no node; install it: apt-get install nodejs", allow_module_level=True)

ACTIONS = ("block", "review", "tag", "allow")

ASK = """
import { decide, judge } from "%(logic)s/decide.js";
import { squareOf } from "%(logic)s/crop.js";
import { readFileSync } from "node:fs";
const { sets, crops } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify({
  sets: sets.map(({ set, scores }) => decide(set, scores)),
  raised: sets.map(({ set, scores }) =>
    judge(set, { scores, decision: "review", raised: ["frames"] }).decision),
  crops: crops.map(([width, height, geometry]) => squareOf(width, height, geometry)),
}));
"""


def node(*arguments: str, text: str | None = None) -> str:
    assert NODE is not None
    done = subprocess.run(
        [NODE, *arguments], input=text, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scripts() -> list[Path]:
    return [path for path in STATIC.rglob("*.js") if path.parent.name != "vendor"]


def test_the_rules_hold_without_a_browser() -> None:
    node("--test", "tests/component/console/logic.test.mjs")


def test_every_script_is_short_and_imports_by_relative_paths() -> None:
    # An import map would be an inline script, which the policy forbids.
    for path in scripts():
        lines = path.read_text().splitlines()
        assert len(lines) < 400, path
        for line in lines:
            if " from " in line and line.startswith(("import", "}", "export")):
                assert '"./' in line or '"../' in line, f"{path}: {line}"


def test_scores_decide_as_on_the_server_and_the_square_is_the_same() -> None:
    random = Random(7)
    sets = [_set(random) for _ in range(150)]
    crops = [
        (random.randint(1, 4000), random.randint(1, 4000), *random.choice([(224, 224), (256, 224)]))
        for _ in range(150)
    ]
    asked = {
        "sets": [
            {"set": _said(label_set), "scores": _scored(label_set, s)} for label_set, s in sets
        ],
        "crops": [[w, h, {"resize": resize, "crop": crop}] for w, h, resize, crop in crops],
    }
    logic = (STATIC / "logic").as_uri()
    told = json.loads(
        node("--input-type=module", "-e", ASK % {"logic": logic}, text=json.dumps(asked))
    )
    for (label_set, scores), answer in zip(sets, told["sets"], strict=True):
        matched, decision = label_set.decide(scores)
        assert (tuple(answer["matched"]), answer["decision"]) == (matched, decision)
    for (label_set, scores), raised in zip(sets, told["raised"], strict=True):
        decisions = label_set.decide(scores)[1], "review"
        assert raised == min(decisions, key=ACTIONS.index)
    for (width, height, resize, edge), square in zip(crops, told["crops"], strict=True):
        left, top, right, bottom = Crop.of(width, height, resize, edge).box
        assert square["left"] * width == pytest.approx(left)
        assert square["top"] * height == pytest.approx(top)
        assert square["width"] * width == pytest.approx(right - left)
        assert square["height"] * height == pytest.approx(bottom - top)


def _set(random: Random) -> tuple[LabelSet, list[float]]:
    labels = []
    for index in range(random.randint(1, 6)):
        act = random.choice([None, round(random.random(), 2)])
        review = random.choice([None, round(random.random() * (1 if act is None else act), 2)])
        labels.append(
            Label(
                f"label {index}",
                ("x",),
                act=None if act is None else Threshold(act, random.choice(ACTIONS)),
                review=None if review is None else Threshold(review, random.choice(ACTIONS)),
            )
        )
    # Scores that are a threshold exactly are as frequent as any others.
    known = [each.score for label in labels for each in (label.act, label.review) if each]
    scores = [random.choice([random.random(), *known]) for _ in labels]
    given = LabelSet("any", Decision.EXCLUSIVE, ACTIONS, "allow", "review", tuple(labels))
    return given, scores


def _said(label_set: LabelSet) -> dict[str, Any]:
    """As ``/v1/console`` says it."""
    return {
        "actions": [*label_set.actions],
        "default_action": label_set.default_action,
        "labels": [
            {
                "name": label.name,
                "act": label.act and {"score": label.act.score, "action": label.act.action},
                "review": label.review
                and {"score": label.review.score, "action": label.review.action},
            }
            for label in label_set.labels
        ],
    }


def _scored(label_set: LabelSet, scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"label": label.name, "score": score, "similarity": 0.0}
        for label, score in zip(label_set.labels, scores, strict=True)
    ]
