"""Writes the SBOM of the production packages, CycloneDX in JSON: `make sbom`.

cyclonedx-py, from constraints-build.txt in an environment of its own, describes what is installed
in .venv. What constraints-production.txt does not pin is then left out: the developers' tools. The
image has an SBOM of exactly what is in it, made by the same program: docs/image.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Set
from pathlib import Path
from typing import Any

from deploy.dev.image import project_version
from deploy.dev.installing import install
from deploy.image.requirements import pins
from workers.embedded.cache import cache_folder, locked
from workers.embedded.processes import ServiceError

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "constraints-build.txt"
PRODUCTION = ROOT / "constraints-production.txt"

DEADLINE_S = 600.0
"""Of one command. The longest fetches and installs the tools."""


def normalized(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def only(bom: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    """The bill of materials with the components of these names alone, and the dependencies among
    them."""
    kept = [each for each in bom.get("components", ()) if normalized(each["name"]) in names]
    refs = {each["bom-ref"] for each in kept}
    root = bom.get("metadata", {}).get("component", {}).get("bom-ref")
    if root is not None:
        refs.add(root)
    dependencies = []
    for each in bom.get("dependencies", ()):
        if each["ref"] in refs:
            on = [ref for ref in each.get("dependsOn", ()) if ref in refs]
            dependencies.append({"ref": each["ref"]} | ({"dependsOn": on} if on else {}))
    return {**bom, "components": kept, "dependencies": dependencies}


def tools() -> Path:
    """The folder of the pinned tools' commands. Installed once for each version of their file."""
    digest = hashlib.sha256(TOOLS.read_bytes()).hexdigest()[:12]
    folder = cache_folder(
        "build-tools", f"{digest}-{sys.version_info.major}.{sys.version_info.minor}"
    )
    # Not the folder itself: uv locks the same file, `.lock`, of the environment that it installs
    # into, and would wait for this process for ever.
    environment = folder / "environment"
    commands = environment / "bin"
    done = environment / ".installed"
    with locked(folder):
        if not done.is_file():
            uv = Path(sys.executable).parent / "uv"
            _run(
                *(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable),
                environment,
            )
            _run(
                *(uv, "pip", "install", "--quiet", "--python", commands / "python"),
                *("--require-hashes", "--requirement", TOOLS),
            )
            done.touch()
    return commands


def sbom(python: str = sys.executable) -> dict[str, Any]:
    """The bill of materials of the production packages that this Python's environment has."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "all.json"
        _run(
            *(tools() / "cyclonedx-py", "environment", "--output-reproducible"),
            *("--pyproject", ROOT / "pyproject.toml", "--output-file", file, python),
        )
        everything: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    names = {normalized(name) for name in pins(PRODUCTION.read_text(encoding="utf-8"))}
    return only(everything, names)


def _run(*words: str | Path) -> None:
    install(words, DEADLINE_S, "check the network")


def main() -> int:
    """Write the file, and say how many packages it names. 1: the tools do not work, and why."""
    parser = argparse.ArgumentParser(prog="make sbom", description="Write the SBOM.")
    parser.add_argument(
        "--output", type=Path, default=ROOT / f"dist/clipstream-{project_version()}.cdx.json"
    )
    output: Path = parser.parse_args().output
    try:
        bom = sbom()
    except ServiceError as problem:
        print(problem, file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(bom, indent=2) + "\n", encoding="utf-8")
    print(f"{output}: CycloneDX {bom['specVersion']}, {len(bom['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
