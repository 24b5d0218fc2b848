"""deploy/release/publish.sh, with stand-ins for the tools that write down what they are asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.dev.image import project_version
from tests.rigs.root import ROOT

SCRIPT = ROOT / "deploy/release/publish.sh"
DIGEST = f"sha256:{'ab' * 32}"
IMAGE = "registry.example.com/team/clipstream"

TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "$DIARY"
case "$(basename "$0") $*" in
  "git status"*) printf %s "$CHANGES" ;;
  "git rev-parse"*) echo 1234 ;;
  "git log"*) echo 2026-01-31T12:00:00+00:00 ;;
  "docker buildx build"*)
    while [ "$1" != --metadata-file ]; do shift; done
    printf '{\\n  "containerimage.digest": "%s"\\n}\\n' "$DIGEST" > "$2" ;;
esac
[ "$(basename "$0")" != "$FAILS" ]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the script reads, with the stand-ins in a folder of their own."""
    for name in ("deploy/release/publish.sh", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("docker", "syft", "grype", "cosign", "git"):
        tool = tmp_path / "tools" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(TOOL)
        tool.chmod(0o755)
    return tmp_path


def publish(checkout: Path, *words: str, **variables: str) -> tuple[int, str, list[str]]:
    """Its exit code, what it said, and what it asked of the tools."""
    environment = {
        "PATH": f"{checkout / 'tools'}:{os.defpath}",
        "DIARY": str(checkout / "diary"),
        "DIGEST": DIGEST,
        "CHANGES": "",
        "FAILS": "",
    }
    done = subprocess.run(
        ["bash", checkout / "deploy/release/publish.sh", *words],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    diary = checkout / "diary"
    asked = diary.read_text().splitlines() if diary.exists() else []
    return done.returncode, done.stdout + done.stderr, asked


def test_both_variants_are_built_scanned_signed_and_then_named(checkout: Path) -> None:
    code, said, asked = publish(checkout, IMAGE)
    assert code == 0, said
    steps = [line for line in asked if not line.startswith("git")]
    kinds = [" ".join(line.split()[:2]) for line in steps]
    each = [
        "docker buildx",
        *("syft scan", "grype sbom"),
        *("syft scan", "grype sbom"),
        "cosign sign",
        "cosign attest",
        "cosign attest",
    ]
    names = ["docker buildx"] * 2
    assert [re.sub(r"sbom:.*", "sbom", kind) for kind in kinds] == [*each, *each, *names]
    version = project_version()
    named = [line for line in steps if "imagetools" in line]
    assert [line.split("--tag ")[1].split()[0] for line in named] == [
        f"{IMAGE}:{version}",
        f"{IMAGE}:{version}-compiler",
    ]


def test_what_is_signed_and_named_is_the_digest_that_was_built(checkout: Path) -> None:
    _, _, asked = publish(checkout, IMAGE)
    of_bytes = [line for line in asked if line.startswith("cosign") or "imagetools" in line]
    assert len(of_bytes) == 8
    assert all(line.endswith(f"{IMAGE}@{DIGEST}") for line in of_bytes)


def test_the_build_is_the_makefiles_with_provenance(checkout: Path) -> None:
    _, _, asked = publish(checkout, IMAGE)
    (runtime, compiler) = [line for line in asked if line.startswith("docker buildx build")]
    assert "--file deploy/Dockerfile" in runtime
    assert "--target runtime" in runtime
    assert "--target compiler" in compiler
    for line in (runtime, compiler):
        assert "--platform linux/amd64,linux/arm64" in line
        assert "--provenance mode=max" in line
        assert f"--build-arg VERSION={project_version()}" in line
        assert "--build-arg REVISION=1234" in line


@pytest.mark.parametrize("tool", ["docker", "syft", "grype", "cosign"])
def test_a_step_that_fails_leaves_the_image_without_a_name(checkout: Path, tool: str) -> None:
    """A finding of the scanner, above all."""
    code, _, asked = publish(checkout, IMAGE, FAILS=tool)
    assert code != 0
    assert not [line for line in asked if "imagetools" in line]
    if tool == "grype":
        assert not [line for line in asked if line.startswith("cosign")]


def test_a_checkout_with_changes_is_not_released(checkout: Path) -> None:
    code, said, asked = publish(checkout, IMAGE, CHANGES=" M workers/cli.py")
    assert code == 1
    assert "changes" in said
    assert asked == ["git status --porcelain"]


def test_a_tool_that_is_missing_is_named(checkout: Path) -> None:
    (checkout / "tools/cosign").unlink()
    code, said, _ = publish(checkout, IMAGE)
    assert code == 1
    assert said.startswith("cosign is missing")
    assert publish(checkout)[0] == 1  # without an image


def test_the_page_says_that_it_has_not_run_and_shows_the_script() -> None:
    page = (ROOT / "docs/releasing.md").read_text(encoding="utf-8")
    assert "has not run" in page
    assert "deploy/release/publish.sh" in page
    for tool in ("syft", "grype", "cosign"):
        (version,) = re.findall(rf"\b{tool.upper()}=([\d.]+)", SCRIPT.read_text())
        assert f"{tool} {version}" in page


def test_the_builds_words_are_read_as_buildx_writes_them(tmp_path: Path) -> None:
    """The file of `--metadata-file` is indented JSON; a line of it has the digest."""
    written = json.dumps({"buildx.build.ref": "x", "containerimage.digest": DIGEST}, indent=2)
    (expression,) = re.findall(
        r"digest=\$\(sed -n '([^']*containerimage[^']*)'", SCRIPT.read_text()
    )
    file = tmp_path / "metadata.json"
    file.write_text(written)
    done = subprocess.run(
        ["sed", "-n", expression, file], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == DIGEST
