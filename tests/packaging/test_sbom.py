"""`make sbom`: a bill of materials of what runs in production."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from typing import Any

import pytest

from deploy.dev.sbom import PRODUCTION, normalized, only, sbom
from deploy.image.requirements import pins

pytestmark = pytest.mark.timeout(600)  # the first time, the tools are installed


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    return sbom(sys.executable)


def test_it_names_the_packages_of_production_in_their_versions(bom: dict[str, Any]) -> None:
    assert bom["bomFormat"] == "CycloneDX"
    pinned = pins(PRODUCTION.read_text(encoding="utf-8"))
    found = {normalized(each["name"]): each["version"] for each in bom["components"]}
    assert {"torch", "ray", "kafka-python", "pillow-heif"} <= found.keys()
    assert "pytest" not in found
    assert found.keys() <= pinned.keys()
    for name, installed in found.items():
        assert version(name) == installed
        assert re.search(rf"^[^=]+=={re.escape(installed)}[\s;]", pinned[name], re.MULTILINE)


def test_each_package_says_what_it_is_and_most_say_their_licence(bom: dict[str, Any]) -> None:
    for each in bom["components"]:
        assert each["purl"].startswith("pkg:pypi/")
    licensed = [each for each in bom["components"] if each.get("licenses")]
    assert len(licensed) > 0.9 * len(bom["components"])


def test_it_describes_this_project_and_leads_nowhere_else(bom: dict[str, Any]) -> None:
    root = bom["metadata"]["component"]
    assert root["name"] == "clipstream"
    refs = {each["bom-ref"] for each in bom["components"]} | {root["bom-ref"]}
    for each in bom["dependencies"]:
        assert each["ref"] in refs
        assert set(each.get("dependsOn", ())) <= refs


def test_what_is_left_out_leaves_no_dependency_behind() -> None:
    everything = {
        "components": [{"name": "A_b", "bom-ref": "a"}, {"name": "tool", "bom-ref": "t"}],
        "dependencies": [
            {"ref": "a", "dependsOn": ["t"]},
            {"ref": "t", "dependsOn": ["a"]},
            {"ref": "root", "dependsOn": ["a", "t"]},
        ],
        "metadata": {"component": {"name": "x", "bom-ref": "root"}},
    }
    assert only(everything, {"a-b"}) == {
        "components": [{"name": "A_b", "bom-ref": "a"}],
        "dependencies": [{"ref": "a"}, {"ref": "root", "dependsOn": ["a"]}],
        "metadata": everything["metadata"],
    }
