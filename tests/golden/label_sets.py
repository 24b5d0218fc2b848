"""Odd ways to write a label set, and the golden file that keeps the version of each.

``python -m tests.golden.label_sets`` writes the file. A version that changes there changes in every
event, and consumers take the scores for those of another label set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.adapters.label_files import load_label_sets
from tests.rigs.root import ROOT

VERSIONS = Path(__file__).with_name("label_sets.json")
SHIPPED = (ROOT / "deploy/examples/label-sets", ROOT / "workers/demo/labels.yaml")

_INDEPENDENT = "name: odd\ndecision: independent\nactions: [block, review, allow]\n"
_EXCLUSIVE = "name: odd\ndecision: exclusive\nactions: [review, tag, none]\ndefault_action: none\n"
_OTHER = "  - {name: other, prompts: [a photo], neutral: true}\n"

ODD: Mapping[str, str] = {
    "defaults left out": _EXCLUSIVE + "labels:\n  - {name: dog, prompts: [a dog]}\n" + _OTHER,
    "name as phrase": _EXCLUSIVE
    + "templates: ['a {}', '{}']\nlabels: [{name: cat}, {name: dog}, {name: x, neutral: true}]\n",
    "phrases and prompts": _EXCLUSIVE
    + "templates: ['a photo of {}.', 'art of {}']\nlabels:\n"
    + "  - {name: dog, phrases: [a dog, a puppy], prompts: [woof, '  a   hound ']}\n"
    + _OTHER,
    "thresholds as integers": _EXCLUSIVE
    + "act_action: tag\nreview_action: tag\nlabels:\n"
    + "  - {name: dog, prompts: [a dog], act_threshold: 1, review_threshold: 0}\n"
    + _OTHER,
    "small thresholds": _EXCLUSIVE
    + "labels:\n  - {name: dog, prompts: [a dog], act_threshold: 1.0e-7, act_action: tag}\n"
    + _OTHER,
    "own actions": _INDEPENDENT
    + "default_action: allow\nunclassified_action: block\nact_action: block\n"
    + "review_action: review\ncontrast: [a photo]\nlabels:\n"
    + "  - {name: a, prompts: [an a], act_threshold: 0.9, review_threshold: 0.5}\n"
    + "  - {name: b, prompts: [a b], act_threshold: 0.9, act_action: review}\n"
    + "  - {name: c, prompts: [a c], review_threshold: 0.30, review_action: block}\n"
    + "  - {name: d, prompts: [a d]}\n",
    "own contrast": _INDEPENDENT
    + "default_action: allow\ncontrast: [a photo, a drawing]\nlabels:\n"
    + "  - {name: a, prompts: [an a], contrast: [no a]}\n  - {name: b, prompts: [a b]}\n",
    "contrast of each label": _INDEPENDENT
    + "default_action: review\nlabels: [{name: a, prompts: [an a], contrast: [b, c]}]\n",
    "pinned": _EXCLUSIVE
    + "model: {name: openai/clip, revision: 'sha256:ab'}\n"
    + "labels:\n  - {name: dog, prompts: [a dog]}\n"
    + _OTHER,
    "unicode": _EXCLUSIVE
    + "templates: ['ein Bild: {}']\nlabels:\n"
    + "  - {name: ça va · 猫 🐈, phrases: [une très\u00a0belle\u2003fille, 'e\u0301té', été]}\n"
    + _OTHER,
    "words and numbers as texts": _EXCLUSIVE
    + "labels:\n  - {name: no, prompts: [on, off, '1', 'true', 'null', '2024-01-01']}\n"
    + "  - {name: '0.5', prompts: [y], neutral: off}\n"
    + _OTHER.replace("true", "Yes"),
    "block texts": _EXCLUSIVE
    + "labels:\n  - name: >\n      a long\n      name\n    prompts:\n      - |\n        two\n"
    + "        lines\n"
    + _OTHER,
    "braces in names and phrases": _EXCLUSIVE
    + "templates: ['{}!']\nlabels:\n  - {name: '{x}', prompts: [a]}\n  - {name: 'a\"b\\c'}\n"
    + _OTHER,
    "categories": _INDEPENDENT
    + "default_action: allow\nreview_action: review\ncontrast: [a photo]\nlabels:\n"
    + "  - {name: a, prompts: [an a], review_threshold: 0.5, category: sexual}\n"
    + "  - {name: b, prompts: [a b], review_threshold: 0.5, "
    + "category: [violence/graphic, violence]}\n"
    + "  - {name: c, prompts: [a c]}\n",
    "calibrated": _INDEPENDENT
    + "default_action: allow\ncontrast: [a photo]\nmodel: {name: openai/clip, revision: ab}\n"
    + f"labels:\n  - {{name: a, prompts: [an a], calibration: {{sample: 'sha256:{'ab' * 32}', "
    + "platt: {slope: 1, intercept: -0.50}}}\n"
    + f"  - {{name: b, prompts: [a b], calibration: {{sample: 'sha256:{'cd' * 32}', "
    + "isotonic: [[0, 0], [0.5, 1.0e-3], [1, 1]]}}\n",
    "all actions": "name: a.B-c_9\ndecision: independent\nactions: [a, b, c, d, e, f]\n"
    "default_action: d\nunclassified_action: a\nact_action: b\nreview_action: c\n"
    "contrast: [x]\nlabels: [{name: y, prompts: [y], act_threshold: .5, "
    "review_threshold: 5.0e-1, act_action: e, review_action: f}]\n",
}


def versions(folder: Path) -> dict[str, str]:
    """The version of every shipped label set by its name, and of every odd one. Odd ones are
    written to ``folder``, one after the other."""
    found = {each.name: each.version for each in load_label_sets(SHIPPED)}
    for name, text in ODD.items():
        file = folder / "set.yaml"
        file.write_text(text, encoding="utf-8")
        (label_set,) = load_label_sets([file])
        found[name] = label_set.version
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        VERSIONS.write_text(
            json.dumps(versions(Path(scratch)), indent=2, ensure_ascii=False) + "\n"
        )
