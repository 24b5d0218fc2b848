"""A cluster's processes: started one after the other, ended in the reverse order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from workers.embedded.processes import ChildProcess, ProcessIdentity, service_environment

START_DEADLINE_S = 120.0
"""An API server answers after 4 s, and after 20 on a busy machine."""

GRACE_S = 10.0


class Processes:
    """The processes of one folder: their logs are in ``logs``, their ids in ``processes.json``.

    Unless ``detached``, they end with this process, however it ends. The file lets a later process
    end detached ones, and nothing else: a process that only has the same number is left alone.
    """

    def __init__(self, folder: Path, *, detached: bool = False) -> None:
        self.folder = folder
        self._detached = detached
        self._file = folder / "processes.json"
        self._started: dict[str, ChildProcess] = {}

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        answers: Callable[[], bool] = lambda: True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a process and wait until it answers.

        Raises ``ServiceError`` with the end of its log if it does not.
        """
        process = ChildProcess(
            name,
            command,
            log=self.folder / "logs" / f"{name}.log",
            environment={**service_environment(), **(environment or {})},
            detached=self._detached,
        )
        process.start()
        self._started[name] = process
        self.record(process.pid)
        process.wait_until(answers, within_s=START_DEADLINE_S)

    def record(self, pid: int) -> None:
        """Have a later process end this one too."""
        if identity := ProcessIdentity.of(pid):
            recorded = [asdict(each) for each in (*_recorded(self._file), identity)]
            self._file.write_text(json.dumps(recorded))

    def stop(self) -> None:
        """End what this object has started, the last one first. Idempotent."""
        while self._started:
            self._started.popitem()[1].stop(GRACE_S)
        self._file.unlink(missing_ok=True)


def stop_recorded(folder: Path) -> list[int]:
    """End what an earlier process has started in the folder, and left. Ids of what was ended."""
    file = folder / "processes.json"
    running = [each for each in reversed(_recorded(file)) if each.running]
    for each in running:
        each.stop(GRACE_S)
    file.unlink(missing_ok=True)
    return [each.pid for each in running]


def all_run(folder: Path) -> bool:
    """Whether an earlier process has started some in the folder, and all of them run."""
    recorded = _recorded(folder / "processes.json")
    return bool(recorded) and all(each.running for each in recorded)


def _recorded(file: Path) -> list[ProcessIdentity]:
    if not file.is_file():
        return []
    return [ProcessIdentity(**fields) for fields in json.loads(file.read_text())]
