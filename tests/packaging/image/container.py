"""Runs commands in the image with as few rights as a pod of a restricted namespace has."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANY_USER = "1000650000:0"
"""A uid that the image has never heard of, as OpenShift gives one, with group 0."""

CONFINED = (
    "--read-only",
    *("--tmpfs", "/tmp"),
    *("--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)

Mounts = Sequence[tuple[Path, str]]
"""Files or folders of this machine, and where the container has them, read-only."""


class CheckError(Exception):
    """The image is not as it must be. The text says what was seen."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image, and the engine that runs it: docker or podman."""

    engine: str
    name: str

    def inspect(self) -> dict[str, Any]:
        """What the engine says of the image: ``Config`` in Docker's words, ``Size`` in bytes."""
        (facts,) = json.loads(self._engine("image", "inspect", self.name))
        found: dict[str, Any] = facts
        return found

    def run(self, *command: str, user: str = ANY_USER, confined: bool = True) -> str:
        """What a program of the image prints.

        Raises:
            CheckError: it failed.
        """
        rights = CONFINED if confined else ()
        place = ("run", "--rm", "--no-healthcheck", "--network", "none", "--user", user, *rights)
        return self._engine(*place, "--entrypoint", command[0], self.name, *command[1:])

    @contextlib.contextmanager
    def running(
        self,
        *arguments: str,
        mounts: Mounts = (),
        variables: Sequence[str] = (),
        network: str = "none",
    ) -> Iterator[Container]:
        """The image's own entry point with these arguments, confined, while the block runs."""
        name = f"clipstream-check-{uuid.uuid4().hex[:8]}"
        volumes = [f"--volume={source}:{target}:ro" for source, target in mounts]
        set_here = [f"--env={each}" for each in variables]
        self._engine(
            *("run", "--detach", "--no-healthcheck", "--name", name),
            *("--network", network, "--user", ANY_USER),
            *("--shm-size", "1g", *CONFINED, *volumes, *set_here, self.name, *arguments),
        )
        try:
            yield Container(self, name)
        finally:
            self._engine("rm", "--force", "--volumes", name)

    def _engine(self, *words: str) -> str:
        done = subprocess.run(
            [self.engine, *words], capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}".strip()[-3000:]
            raise CheckError(f"{self.engine} {' '.join(words)[:300]}: {said}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was started and is not removed yet."""

    image: Image
    name: str

    def execute(self, *command: str) -> str:
        """What a further program in the container prints.

        Raises:
            CheckError: it failed.
        """
        return self.image._engine("exec", self.name, *command)

    def state(self) -> dict[str, Any]:
        """``Running`` and ``ExitCode``, among others."""
        (facts,) = json.loads(self.image._engine("container", "inspect", self.name))
        state: dict[str, Any] = facts["State"]
        return state

    def stop(self, within_s: int) -> None:
        """Send SIGTERM, and kill after this time."""
        self.image._engine("stop", "--time", str(within_s), self.name)

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return int(self.image._engine("wait", self.name))

    def logs(self) -> str:
        done = subprocess.run(
            [self.image.engine, "logs", self.name], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr
