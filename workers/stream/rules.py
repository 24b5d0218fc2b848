"""What decides how records are routed and images scored, and how a change of it takes effect
without a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline import metrics
from pipeline.errors import Halt
from pipeline.flow import Scoring
from pipeline.ports import Meter
from pipeline.records import Entry, Record

log = logging.getLogger(__name__)

STOP_S = 5.0


class Parsing(Protocol):
    """What a record holds, each an outcome's beginning."""

    def __call__(self, record: Record) -> Sequence[Entry]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """One version of the label sets, and the routes to them. A record is parsed and all its images
    are scored by the same rules, so no event mixes two versions.

    ``versions`` are the content hashes of the label sets by name.
    """

    parse: Parsing
    scoring: Scoring
    versions: Mapping[str, str]


class LiveRules:
    """The rules in force. ``watch`` takes up changes of the files that they come from.

    A change takes effect when two looks in a row have seen the same files, so that one that is
    still being written is not loaded; files that cannot be loaded change nothing, until they
    change again.
    """

    def __init__(
        self, load: Callable[[], Rules], fingerprint: Callable[[], str], meter: Meter
    ) -> None:
        """Load the rules.

        Raises:
            Halt: what ``load`` raises: they are not valid.
        """
        self._load = load
        self._fingerprint = fingerprint
        self._meter = meter
        # Before the files are read: a change meanwhile is then one that the next look sees.
        self._seen = self._tried = fingerprint()
        self._current = load()
        self._tell({})
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> Rules:
        return self._current

    def watch(self, load: Callable[[], Rules], interval_s: float) -> None:
        """Look at the files every ``interval_s``, in a thread; a change is loaded by ``load``."""
        self._load = load
        self._thread = threading.Thread(
            target=self._watch, args=(interval_s,), name="label sets", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def look(self) -> None:
        """Take up a change of the files that this look and the one before have seen."""
        before, self._seen = self._seen, self._fingerprint()
        if self._seen != before or self._seen == self._tried:
            return
        self._tried = self._seen
        try:
            rules = self._load()
        except Halt as refused:
            self._meter.add(metrics.LABEL_SET_RELOADS, outcome="refused")
            log.error(  # noqa: TRY400 - an expected failure, its message says it all
                "label sets: the changed files cannot be loaded, those loaded before stay in "
                "force: %s",
                refused.message,
                extra={"code": refused.code},
            )
            return
        replaced, self._current = self._current, rules
        self._meter.add(metrics.LABEL_SET_RELOADS, outcome="loaded")
        self._tell(replaced.versions)

    def _watch(self, interval_s: float) -> None:
        while not self._stopping.wait(interval_s):
            try:
                self.look()
            except Exception:
                # The thread must outlive a defect, or no later change would take effect.
                log.exception("label sets: looking for changes failed")

    def _tell(self, replaced: Mapping[str, str]) -> None:
        versions = self._current.versions
        for name, version in replaced.items() - versions.items():
            self._meter.forget(metrics.LABEL_SET_INFO, label_set=name, version=version)
        for name, version in versions.items():
            self._meter.set(metrics.LABEL_SET_INFO, 1, label_set=name, version=version)
        for name, version in sorted(versions.items() - replaced.items()):
            log.info("label set %s is in force, version %s", name, version)
        for name in sorted(replaced.keys() - versions.keys()):
            log.info("label set %s is no longer in force", name)
