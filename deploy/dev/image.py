"""Builds the container image, with docker, podman or buildah: `make image`.

The engines' own variables and configuration work as ever, such as ``BUILDAH_ISOLATION=chroot``.
If ``SSL_CERT_FILE`` is set here, the build trusts those certificates too.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = "deploy/Dockerfile"
RUNTIME, COMPILER = "runtime", "compiler"

ENGINES: Mapping[str, Sequence[str]] = {
    # What each says only if it can build: a docker client without a daemon cannot.
    "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
    "podman": ("podman", "info", "--format", "{{.Store.GraphDriverName}}"),
    "buildah": ("buildah", "info", "--format", "{{.store.GraphDriverName}}"),
}

WHAT_IT_NEEDS = (
    "no docker, podman or buildah that works; install one of them, for example: "
    "apt-get install buildah"
)


class ImageError(Exception):
    """The image cannot be built. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image. Empty texts leave a choice to the Dockerfile."""

    target: str = RUNTIME
    tag: str = ""
    base: str = ""
    index: str = ""
    torch_index: str = ""
    torch_sha256: str = ""
    without: str = ""

    @property
    def name(self) -> str:
        """Its tag: ``clipstream:VERSION``, or with ``-compiler`` at the end."""
        suffix = "" if self.target == RUNTIME else f"-{self.target}"
        return self.tag or f"clipstream:{project_version()}{suffix}"

    def arguments(self) -> dict[str, str]:
        """The build's arguments."""
        given = {
            "BASE": self.base,
            "INDEX": self.index,
            "TORCH_INDEX": self.torch_index,
            "TORCH_SHA256": self.torch_sha256,
            "WITHOUT": self.without,
        }
        return {
            **{name: value for name, value in given.items() if value},
            "VERSION": project_version(),
            **_commit(),
        }


def project_version() -> str:
    """The version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def engine(named: str = "") -> str:
    """The engine that is named, else the first that works.

    Raises:
        ImageError: it does not work, or none does.
    """
    if named and named not in ENGINES:
        raise ImageError(f"ENGINE: {named}: is none of {', '.join(ENGINES)}")
    for name in [named] if named else ENGINES:
        if shutil.which(name) and _answers(ENGINES[name]):
            return name
    raise ImageError(f"{named}: does not work here" if named else WHAT_IT_NEEDS)


def building(engine: str) -> list[str]:
    """How a command of the engine that builds an image begins."""
    # Of the three, buildah alone keeps no layers for the next build unless it is told to.
    build = ["buildah", "bud", "--layers"] if engine == "buildah" else [engine, "build"]
    # HEALTHCHECK is Docker's word: podman and buildah keep it only in Docker's format.
    return build if engine == "docker" else [*build, "--format", "docker"]


def command(wanted: Wanted, engine: str, certificates: str = "", netrc: str = "") -> list[str]:
    """The command that builds the image. ``certificates`` and ``netrc`` are files, which the build
    sees and the image does not."""
    secrets = {"certificates": certificates, "netrc": netrc}
    return [
        *building(engine),
        *("--file", DOCKERFILE, "--target", wanted.target, "--tag", wanted.name),
        *(f"--build-arg={name}={value}" for name, value in wanted.arguments().items()),
        *(f"--secret=id={name},src={file}" for name, file in secrets.items() if file),
        ".",
    ]


def build(wanted: Wanted, engine: str) -> None:
    """Build the image; the engine's words go to this process's output.

    Raises:
        ImageError: the build failed.
    """
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    words = command(
        wanted,
        engine,
        os.environ.get("SSL_CERT_FILE", ""),
        str(netrc) if netrc.is_file() else "",
    )
    print(shlex.join(words), flush=True)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}  # secrets need it
    if subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode:  # noqa: S603 - the words are ours
        raise ImageError(f"{engine}: the build failed; its last lines say why")


def _answers(words: Sequence[str]) -> bool:
    done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - the words are ours
    return done.returncode == 0 and bool(done.stdout.strip())


def _commit() -> dict[str, str]:
    """The commit and its time, so that a build of the same commit has the same labels. Nothing
    outside a checkout."""
    words = ("git", "log", "-1", "--format=%H %cI")
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return {}
    revision, created = done.stdout.split()
    return {"REVISION": revision, "CREATED": created}


def wanted_of(arguments: Sequence[str] | None = None) -> tuple[Wanted, str]:
    """The image that a command line asks for, and the engine that it names."""
    parser = argparse.ArgumentParser(prog="make image", description="Build the container image.")
    parser.add_argument("--engine", default="", help="docker, podman or buildah")
    parser.add_argument("--target", default=RUNTIME, choices=[RUNTIME, COMPILER])
    for name, text in (
        ("tag", "name and tag of the image"),
        ("base", "image to start from"),
        ("index", "index of Python packages"),
        ("torch-index", "index of torch alone, such as the CPU's"),
        ("torch-sha256", "SHA-256 of torch's wheel there"),
        ("without", "packages to leave out"),
    ):
        parser.add_argument(f"--{name}", default="", help=text)
    given = vars(parser.parse_args(arguments))
    named = given.pop("engine")
    return Wanted(**given), named


def main() -> int:
    """0: built; 1: not built, and why."""
    wanted, named = wanted_of()
    try:
        build(wanted, engine(named))
    except ImageError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"built {wanted.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
