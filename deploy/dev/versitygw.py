"""versitygw, a real S3 server with versions: built by the Go toolchain once, kept by version."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.dev import go_programs
from deploy.dev.go_programs import GO_VERSION, GoProgram
from workers.embedded.processes import LOOPBACK, ServiceError, remembered_ports, service_environment
from workers.embedded.s3 import S3Server

VERSION = "v1.8.0"
MODULE = "github.com/versity/versitygw"
PROGRAM = GoProgram("versitygw", MODULE, VERSION, f"{MODULE}/cmd/versitygw", fast=True)

WHAT_IT_NEEDS = (
    "the S3 server versitygw is built once, by a Go toolchain "
    f"({GO_VERSION} or newer, `go` on the PATH)"
)


def available() -> bool:
    """Whether the server is built, or can be."""
    return go_programs.available([PROGRAM])


def binary() -> Path:
    """The server, built if the user's cache lacks it. Builds at the same time wait for one another.

    Raises ``ServiceError`` without a Go toolchain, and with the toolchain's words when it fails.
    """
    if not available():
        raise ServiceError(f"versitygw: {WHAT_IT_NEEDS}; install it, or use --s3 moto")
    (path,) = go_programs.built([PROGRAM])
    return path


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
        address: str = LOOPBACK,
        detached: bool = False,
    ) -> None:
        data_dir = data_dir.resolve()
        (port,) = remembered_ports(data_dir / "ports.json", 1, address)
        objects, versions = data_dir / "objects", data_dir / "versions"
        for folder in (objects, versions):
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            "versitygw",
            [
                *(binary(), "--port", f"{address}:{port}", "--region", self.region),
                *("--health", "/health", "--keep-alive"),
                *("posix", "--versioning-dir", versions, *_metadata_options(data_dir), objects),
            ],
            address=address,
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
