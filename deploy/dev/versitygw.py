"""versitygw, a real S3 server with versions: built by the Go toolchain once, kept by version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from workers.embedded.cache import cache_folder, locked
from workers.embedded.processes import LOOPBACK, ServiceError, remembered_ports, service_environment
from workers.embedded.s3 import S3Server

VERSION = "v1.8.0"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"

BUILD_DEADLINE_S = 1800.0
"""Two to four minutes on two cores; the source of 150 modules is fetched first."""

WHAT_IT_NEEDS = (
    "the S3 server versitygw is built once, by a Go toolchain (1.25 or newer, `go` on the PATH)"
)


def _cached() -> Path:
    return cache_folder("versitygw", VERSION) / "versitygw"


def available() -> bool:
    """Whether the server is built, or can be."""
    return _cached().is_file() or shutil.which("go") is not None


def binary() -> Path:
    """The server, built if the user's cache lacks it. Builds at the same time wait for one another.

    Raises ``ServiceError`` without a Go toolchain, and with the toolchain's words when it fails.
    """
    path = _cached()
    if path.is_file():
        return path
    go = shutil.which("go")
    if go is None:
        raise ServiceError(f"versitygw: {WHAT_IT_NEEDS}; install it, or use --s3 moto")
    with locked(path.parent), tempfile.TemporaryDirectory(dir=path.parent) as incoming:
        # Another process may have built it while this one waited for the lock.
        if not path.is_file():
            print(f"building versitygw {VERSION}, once: this takes minutes", file=sys.stderr)
            _build(go, Path(incoming))
            (Path(incoming) / path.name).replace(path)
    return path


def _build(go: str, folder: Path) -> None:
    # The toolchain checks what it fetches against Go's public log of module checksums.
    done = subprocess.run(  # noqa: S603 - the command is ours, no shell
        [go, "install", "-trimpath", f"{PACKAGE}@{VERSION}"],
        env={**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceError(
            f"versitygw: go install {PACKAGE}@{VERSION} failed (status {done.returncode}); "
            f"check the network and the version of Go:\n{done.stdout}"
        )


class VersityS3(S3Server):
    """A real S3 server on a folder: versions, conditional requests, and credentials that count.

    A second server on the same folder has the same buckets, and the same address as long as nobody
    took its port meanwhile.
    """

    def __init__(
        self,
        data_dir: Path,
        log_dir: Path | None = None,
        *,
        detached: bool = False,
    ) -> None:
        data_dir = data_dir.resolve()
        (port,) = remembered_ports(data_dir / "ports.json", 1)
        objects, versions = data_dir / "objects", data_dir / "versions"
        for folder in (objects, versions):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            "versitygw",
            [
                *(binary(), "--port", f"{LOOPBACK}:{port}", "--region", self.region),
                *("--health", "/health", "--keep-alive"),
                *("posix", "--versioning-dir", versions, *_metadata_options(data_dir), objects),
            ],
            port=port,
            health_path="/health",
            log=(log_dir.resolve() if log_dir else data_dir) / "versitygw.log",
            environment={
                **service_environment(),
                "ROOT_ACCESS_KEY_ID": self.access_key,
                "ROOT_SECRET_ACCESS_KEY": self.secret_key,
            },
            detached=detached,
        )


def _metadata_options(data_dir: Path) -> list[str | Path]:
    """Where ETags and the like are kept: in attributes of the files where the file system has them
    (older kernels' tmpfs has not), else in a folder beside."""
    try:
        os.setxattr(data_dir, "user.clipstream", b"probe")
    except OSError:
        sidecar = data_dir / "metadata"
        sidecar.mkdir(exist_ok=True)
        return ["--sidecar", sidecar]
    return []


if __name__ == "__main__":
    try:
        print(binary())
    except ServiceError as problem:
        sys.exit(str(problem))
