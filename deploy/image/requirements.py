"""Chooses what the image installs from the production requirements.

    python3 requirements.py constraints-production.txt --into FOLDER
        --torch-index URL --torch-sha256 "HASH …" --without "NAME …"

Writes ``requirements.txt``, and ``torch.txt`` if torch comes from an index of its own. Every line
keeps its hashes, so that nothing unknown is installed. Needs only the standard library: it runs
before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

OF_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
"""What torch needs for CUDA alone. Another index's torch for CPUs needs none of it; one for another
CUDA names other packages, which this list does not have."""

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
SHA256 = re.compile(r"[0-9a-f]{64}")


def pins(text: str) -> dict[str, str]:
    """The pins of a requirements file with hashes: each package's name, and its lines. A package
    may have a version for each of several Pythons, each with its marker."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if pin := PIN.match(line):
            name = pin["name"].lower()
            found[name] = f"{found[name]}\n{line}" if name in found else line
        elif line.startswith(" ") and "--hash=" in line:
            found[name] += f"\n{line}"
    return found


def choose(
    production: str, torch_index: str, torch_sha256: Sequence[str], without: Sequence[str]
) -> tuple[str, str]:
    """The contents of ``requirements.txt`` and of ``torch.txt``, which may be empty.

    Raises:
        ValueError: a hash is missing or is none, or a name is not there to be left out.
    """
    chosen = pins(production)
    if unknown := sorted(set(without) - chosen.keys()):
        raise ValueError(
            f"WITHOUT: {', '.join(unknown)}: not among the requirements; mend the name"
        )
    torch = ""
    if torch_index:
        if not torch_sha256 or not all(SHA256.fullmatch(each) for each in torch_sha256):
            raise ValueError(
                "TORCH_SHA256: write the SHA-256 of torch's wheel in TORCH_INDEX, 64 hexadecimal "
                "digits; docs/image.md shows how to look it up"
            )
        version = PIN.match(chosen.pop("torch"))
        if version is None:
            raise ValueError("constraints-production.txt: torch has no version")
        hashes = "".join(f" \\\n    --hash=sha256:{each}" for each in torch_sha256)
        torch = f"torch=={version['version']}{hashes}\n"
        chosen = {name: pin for name, pin in chosen.items() if not OF_CUDA.fullmatch(name)}
    kept = [pin for name, pin in chosen.items() if name not in without]
    return "\n".join(kept) + "\n", torch


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("production", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--torch-index", default="")
    parser.add_argument("--torch-sha256", default="")
    parser.add_argument("--without", default="")
    given = parser.parse_args(arguments)
    try:
        requirements, torch = choose(
            given.production.read_text(encoding="utf-8"),
            given.torch_index,
            given.torch_sha256.split(),
            given.without.lower().split(),
        )
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    (given.into / "requirements.txt").write_text(requirements, encoding="utf-8")
    (given.into / "torch.txt").write_text(torch, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
