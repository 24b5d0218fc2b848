"""Images that are made of the image: one with a C compiler, one with a model's weights."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from deploy.dev.image import COMPILER, ImageError, Wanted, build, building
from tests.packaging.image.container import CheckError, Image
from tests.packaging.image.work import serves
from tests.rigs.root import ROOT

BAKED = "deploy/examples/model/baked.Dockerfile"
WEIGHTS = "workers/demo/model"

COMPILE = """
import os, pathlib, torch
compiled = torch.compile(lambda x: (2 * x + 1).sin())
x = torch.arange(1000.0)
assert torch.allclose(compiled(x), (2 * x + 1).sin())
print(sum(1 for _ in pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.so")))
"""


def compiles(image: Image, wanted: Wanted, builder: str) -> int:
    """Build the variant with a compiler, in which `torch.compile` makes native code under the
    confinement of a pod: the number of libraries that it has made."""
    variant = replace(wanted, target=COMPILER, tag="")
    try:
        build(variant, builder)
    except ImageError as problem:
        raise CheckError(str(problem)) from None
    made = int(Image(image.engine, variant.name).run("python3", "-c", COMPILE))
    if not made:
        raise CheckError("torch.compile has made no library")
    return made


def bakes_weights(image: Image, builder: str) -> dict[str, float | int | str]:
    """Build an image with the demo's weights as the example shows, and have it serve from them."""
    name = f"{image.name}-weights"
    given = ("--file", BAKED, f"--build-arg=IMAGE={image.name}", "--tag", name, WEIGHTS)
    built = subprocess.run(
        [*building(builder), *given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise CheckError(built.stderr[-3000:])
    return serves(Image(image.engine, name), mounted=False)
