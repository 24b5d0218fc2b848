"""Trials of whose fault failures are, that end as a test says."""

from __future__ import annotations

from concurrent.futures import Future


class ScriptedTrials:
    """Implements ``workers.stream.commit_gate.Trials``: notes what is tried; a verdict ends it."""

    def __init__(self, verdict: bool | None = None) -> None:
        self._verdict = verdict
        self.begun: list[Future[bool]] = []
        self.buckets_tried: list[str] = []

    def good_images(self) -> Future[bool]:
        trial: Future[bool] = Future()
        if self._verdict is not None:
            trial.set_result(self._verdict)
        self.begun.append(trial)
        return trial

    def bucket(self, bucket: str) -> Future[bool]:
        self.buckets_tried.append(bucket)
        return self.good_images()
