"""Steps that are told as they end, each with its time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from pipeline.errors import PipelineError


class StepFailed(Exception):
    """A step failed, and was told."""


class Step:
    """One step. ``message`` says what it did; set it before the step ends."""

    def __init__(self) -> None:
        self.message = ""


class Steps:
    """Tells steps, a line each."""

    def __init__(
        self, tell: Callable[[str], object], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._began = monotonic()
        self.failed: str | None = None
        """The first step that failed."""

    @property
    def seconds(self) -> float:
        """Since the first step."""
        return self._monotonic() - self._began

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Tell the step when the block ends.

        Raises:
            StepFailed: the block raised an error of the pipeline, or this error.
        """
        began, step = self._monotonic(), Step()
        try:
            yield step
        except (PipelineError, StepFailed) as error:
            self._fail(name, began, str(error))
            raise StepFailed(name) from error
        except BaseException as error:
            # A defect, or Ctrl-C. Whoever sees it tells more.
            self._fail(name, began, f"broken off by {type(error).__name__}")
            raise
        self._line("ok  ", name, began, step.message)

    def _fail(self, name: str, began: float, message: str) -> None:
        self.failed = self.failed or name
        self._line("FAIL", name, began, message)

    def _line(self, mark: str, name: str, began: float, message: str) -> None:
        self._tell(f"{mark}  {self._monotonic() - began:6.1f} s  {name}: {message}")
