"""Programs that are written in Go: built from their published modules once, kept by version.

`go install PACKAGE@VERSION` refuses a module that has replace directives, which Kubernetes, etcd
and many operators have. So each program is built in a module of its own, made for the build, that
takes over the requirements and replacements of the program's module.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.dev.installing import install
from workers.embedded.cache import cache_folder, locked
from workers.embedded.processes import ServiceError

GO_VERSION = "1.26"
"""The oldest toolchain that builds all programs; an older one fetches a newer one by itself."""

BUILD_DEADLINE_S = 3600.0
"""Of one program. The largest takes 7 minutes of one processor, and others may need it too."""

LOCK_INTERVAL_S = 0.5
"""Between two looks at a program that another process builds."""

_QUICKLY = "all=-l -dwarf=false"
"""What a compiler leaves out for a quick build: inlining, and what debuggers need. etcd takes 82 s
of processor time instead of 145."""

_CACHES = "caches-"

_FORBIDDEN = "FORBIDDEN"
"""Part of the path by which etcd's module keeps an old module out; there is no such module."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A main package of a published module.

    ``staging`` is the version of the modules that ``module`` replaces by folders of its repository,
    as Kubernetes does. ``values`` are variables that the linker sets, as ``import/path.Name``.
    ``fast`` programs are worth the longer build: benchmarks measure what they take part in.
    """

    name: str
    module: str
    version: str
    package: str
    staging: str = ""
    values: tuple[tuple[str, str], ...] = ()
    fast: bool = False

    @property
    def path(self) -> Path:
        """Where the program is once it is built."""
        return cache_folder(self.name, self.version) / self.name


def available(programs: Iterable[GoProgram]) -> bool:
    """Whether the programs are built, or can be."""
    return shutil.which("go") is not None or all(each.path.is_file() for each in programs)


def built(programs: Sequence[GoProgram]) -> list[Path]:
    """Paths of the programs, in their order. What the user's cache lacks is built.

    Programs that are built in one call share what they have in common. Builds of several processes
    wait for one another; a process whose programs are there goes on at once. Raises
    ``ServiceError`` without a Go toolchain, and with the toolchain's words when a build fails.
    """
    while missing := [each for each in programs if not each.path.is_file()]:
        with sole_build(wait=False) as environment:
            if environment is not None:
                _build(missing, environment)
                break
        time.sleep(LOCK_INTERVAL_S)
    return [each.path for each in programs]


def module_folder(module: str, version: str, environment: Mapping[str, str]) -> Path:
    """Folder of the module's source in the toolchain's cache, fetched if need be."""
    return Path(_download(module, version, environment)["Dir"])


@contextmanager
def sole_build(*, wait: bool = True) -> Iterator[dict[str, str] | None]:
    """Environment for the toolchain, whose caches are removed afterwards; no other process builds
    meanwhile. None while another process does, for a caller that does not want to ``wait``.

    The caches of a whole cluster's programs grow to 17 GB, the programs to 1 GB.
    """
    parent = cache_folder("go-build")
    with locked(parent, wait=wait) as held:
        if not held:
            yield None
            return
        for left in parent.glob(f"{_CACHES}*"):  # by a build that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_CACHES, dir=parent) as folder:
            yield {
                **os.environ,
                "GOMODCACHE": f"{folder}/modules",
                "GOCACHE": f"{folder}/compiled",
                # The folder is there, as the toolchain wants it.
                "GOTMPDIR": folder,
                # Without -modcacherw, nothing in the cache could be removed.
                "GOFLAGS": "-mod=mod -modcacherw",
                "GOWORK": "off",
                "CGO_ENABLED": "0",
            }


def _build(programs: Sequence[GoProgram], environment: Mapping[str, str]) -> None:
    if shutil.which("go") is None:
        names = ", ".join(each.name for each in programs)
        raise ServiceError(
            f"{names}: built once by a Go toolchain ({GO_VERSION} or newer, `go` on the PATH); "
            "install it"
        )
    for number, program in enumerate(programs, start=1):
        if program.path.is_file():  # built by another process, before this one's turn
            continue
        _say(f"building {program.name} {program.version}, once: {number} of {len(programs)}")
        began, cpu_began = time.monotonic(), _cpu_s()
        _build_one(program, environment)
        _say(
            f"built {program.name} {program.version} in {time.monotonic() - began:.0f} s, "
            f"{_cpu_s() - cpu_began:.0f} s of processor time"
        )


def _build_one(program: GoProgram, environment: Mapping[str, str]) -> None:
    folder = program.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as incoming:
        work = Path(incoming)
        file = _download(program.module, program.version, environment)["GoMod"]
        upstream = json.loads(_go(["mod", "edit", "-json", file], environment))
        (work / "go.mod").write_text(requirements(program, upstream))
        # A module that imports nothing would lose its requirements.
        (work / "tools.go").write_text(
            f'//go:build tools\n\npackage tools\n\nimport _ "{program.package}"\n'
        )
        values = " ".join(f"-X {name}={value}" for name, value in program.values)
        output = work / program.name
        linker = ["-ldflags", f"-s -w {values}"]
        compiler = [] if program.fast else ["-gcflags", _QUICKLY]
        what: list[str | Path] = ["-o", output, program.package]
        _go(["build", "-trimpath", *linker, *compiler, *what], environment, work)
        output.replace(program.path)


def requirements(program: GoProgram, upstream: Mapping[str, Any]) -> str:
    """The go.mod of a module that is made to build the program: the versions that upstream has
    chosen. ``upstream`` is its own go.mod, as `go mod edit -json` prints it."""
    lines = [
        "module clipstream.build/program",
        f"go {upstream.get('Go', GO_VERSION)}",
        f"require {program.module} {program.version}",
    ]
    for required in upstream.get("Require") or ():
        version = required["Version"]
        if program.staging and version == "v0.0.0":
            version = program.staging
        lines.append(f"require {required['Path']} {version}")
    for replaced in upstream.get("Replace") or ():
        old, new = replaced["Old"], replaced["New"]
        if _FORBIDDEN in new["Path"]:
            continue
        version, path = new.get("Version"), new["Path"]
        if path.startswith("."):
            if not program.staging:
                raise ServiceError(f"{program.name}: {old['Path']} is a folder; set `staging`")
            version, path = program.staging, old["Path"]
        left = f"{old['Path']} {old['Version']}" if old.get("Version") else old["Path"]
        lines.append(f"replace {left} => {path} {version}")
    return "\n".join(lines) + "\n"


def _download(module: str, version: str, environment: Mapping[str, str]) -> dict[str, Any]:
    # The toolchain checks what it fetches against Go's public log of module checksums.
    found: dict[str, Any] = json.loads(
        _go(["mod", "download", "-json", f"{module}@{version}"], environment)
    )
    return found


def _go(
    arguments: Sequence[str | Path], environment: Mapping[str, str], folder: Path | None = None
) -> str:
    return install(
        ["go", *arguments],
        BUILD_DEADLINE_S,
        f"check the network and the version of Go ({GO_VERSION} or newer)",
        # Outside every module: a go.mod here would count.
        folder=folder or Path(environment["GOMODCACHE"]).parent,
        environment=environment,
    )


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
