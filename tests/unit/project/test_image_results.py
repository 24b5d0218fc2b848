"""The last result of `make image-tests`, and what docs/image.md says of it."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.packaging.image.contents import CONTENTS, WRITABLE
from tests.rigs.root import ROOT

RESULTS: dict[str, Any] = json.loads(
    (ROOT / "tests/packaging/image/results.json").read_text(encoding="utf-8")
)
AT_WORK = ("serves", "classifies", "compiles", "bakes_weights")
PAGE = (ROOT / "docs/image.md").read_text(encoding="utf-8")


def test_every_check_of_the_image_has_passed() -> None:
    """A check that fails keeps the file from being written, so a new one is missing from it."""
    assert RESULTS["checks"].keys() == {*CONTENTS, *AT_WORK}


def test_the_image_was_as_the_page_says() -> None:
    checks = RESULTS["checks"]
    assert checks["entry_point"] == "1000:0"
    assert checks["no_file_changes_who_runs_it"] == 0
    assert set(checks["any_user_writes_only_where_volumes_are"]) <= WRITABLE
    assert checks["classifies"]["outcomes"] == checks["classifies"]["references"] > 0


def test_the_figures_of_the_page_are_those_that_were_measured() -> None:
    figures = dict(re.findall(r"^\| ([^|]+) \| \*\*([\d.]+)", PAGE, re.MULTILINE))
    size_gb = RESULTS["size_bytes"] / 1e9
    assert float(figures["size"]) == round(size_gb, 1)
    assert int(figures["build, minutes"]) == round(RESULTS["build_s"] / 60)
    assert int(figures["Python packages"]) == RESULTS["checks"]["packages_are_the_pinned_ones"]
