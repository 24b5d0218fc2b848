"""Builds the image, checks it, and writes what was measured to results.json: `make image-tests`.

Not part of `make test`, because a build takes minutes and 30 GB of disk. ``contents`` checks what
is in the image, ``work`` what the image does, ``variants`` what is made of it, and ``container``
runs it with few rights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deploy.dev.image import ImageError, build, engine, wanted_of
from pipeline.errors import PipelineError
from tests.packaging.image import variants, work
from tests.packaging.image.container import CheckError, Image
from tests.packaging.image.contents import CONTENTS
from tests.rigs.root import ROOT
from workers.embedded.processes import ServiceError

RESULTS = Path(__file__).parent / "results.json"
KEEP = "KEEP_IMAGE_RESULTS"
"""Set to anything: check, and leave the file as it is."""


def main() -> int:
    """0: the image is as it must be; 1: it is not, or it could not be built."""
    parser = argparse.ArgumentParser(prog="make image-tests", description=__doc__)
    parser.add_argument(
        "--built",
        type=float,
        metavar="SECONDS",
        help="check the image that is there already, which took this long to build",
    )
    given, of_image = parser.parse_known_args()
    wanted, named = wanted_of(of_image)
    try:
        builder = engine(named)
        runner = engine("podman" if builder == "buildah" else builder)  # buildah runs nothing
        began = time.monotonic()
        if given.built is None:
            build(wanted, builder)
        build_s = given.built or time.monotonic() - began
    except ImageError as problem:
        print(problem, file=sys.stderr)
        return 1
    image = Image(runner, wanted.name)
    facts: dict[str, Any] = {}
    failed = 0
    checks: dict[str, Callable[[Image], Any]] = {
        **CONTENTS,
        "serves": work.serves,
        "classifies": work.classifies,
        "compiles": partial(variants.compiles, wanted=wanted, builder=builder),
        "bakes_weights": partial(variants.bakes_weights, builder=builder),
    }
    for name, check in checks.items():
        title = name.replace("_", " ")
        try:
            facts[name] = check(image)
            print(f"ok    {title}: {str(facts[name])[:120]}", flush=True)
        except (CheckError, PipelineError, ServiceError, subprocess.TimeoutExpired) as problem:
            failed += 1
            print(f"FAIL  {title}: {problem}", flush=True)
    if failed:
        print(f"{failed} of {len(checks)} checks failed")
        return 1
    print(f"{len(checks)} checks passed")
    if KEEP not in os.environ:
        write(image, builder, build_s, facts)
    return 0


def write(image: Image, builder: str, build_s: float, facts: dict[str, Any]) -> None:
    """Write the results: what was measured, on which machine. The commit is the image's own, which
    may have been built before."""
    found = image.inspect()
    results = {
        "measured": datetime.now(UTC).date().isoformat(),
        "commit": found["Config"]["Labels"]["org.opencontainers.image.revision"],
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.system(),
            "load_1_min": round(os.getloadavg()[0], 1),
        },
        "builder": _said(builder, "--version"),
        "image": image.name,
        "size_bytes": found["Size"],
        "build_s": round(build_s),
        "checks": facts,
    }
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=False) + "\n", encoding="utf-8")
    print(f"written: {RESULTS.relative_to(ROOT)}")


def _said(*words: str) -> str:
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
