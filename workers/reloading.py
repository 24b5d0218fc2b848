"""Files that take effect without a restart: label sets, and lists of known pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline import metrics
from pipeline.errors import Halt, Retry
from pipeline.metrics import Metric
from pipeline.ports import Meter
from workers.audit import Act, note
from workers.looks import Looks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """How logs and metrics name what the files hold. ``label`` is the label of ``info`` for the
    name."""

    one: str
    setting: str
    label: str
    info: Metric
    reloads: Metric
    refused: Metric


LABEL_SETS = Told(
    "label set",
    "label_sets.paths",
    "label_set",
    metrics.LABEL_SET_INFO,
    metrics.LABEL_SET_RELOADS,
    metrics.LABEL_SETS_REFUSED,
)
KNOWN_LISTS = Told(
    "known list",
    "known.lists",
    "known_list",
    metrics.KNOWN_LIST_INFO,
    metrics.KNOWN_LIST_RELOADS,
    metrics.KNOWN_LISTS_REFUSED,
)


class Versioned(Protocol):
    """Rules of which each has a name and a version."""

    @property
    def versions(self) -> Mapping[str, str]: ...


InForce = TypeVar("InForce", bound=Versioned)


class LiveRules(Generic[InForce]):
    """The rules in force, of whatever kind. ``watch`` applies changes of their files.

    A change takes effect when two looks in a row have seen the same files, so that a file that is
    still being written is not loaded. Files that cannot be loaded change nothing until they change
    again. If something did not answer that loading needs, the next look tries again.
    """

    def __init__(
        self,
        load: Callable[[], InForce],
        fingerprint: Callable[[], str],
        meter: Meter,
        now: Callable[[], float] = time.time,
        told: Told = LABEL_SETS,
    ) -> None:
        """Load the rules. ``now`` returns Unix seconds.

        Raises:
            Halt, Retry: raised by ``load``, such as for rules that are not valid.
        """
        self._load = load
        self._fingerprint = fingerprint
        self._meter = meter
        self._now = now
        self._told = told
        self.changed_at: Mapping[str, float] = {}
        """When rules came in force that have changed since the start, in Unix seconds."""
        # Taken before the files are read, so that the next look sees a change made meanwhile.
        self._seen = self._tried = fingerprint()
        self._current = load()
        self._tell({})
        self._looks: Looks | None = None

    def __call__(self) -> InForce:
        return self._current

    def watch(self, interval_s: float) -> None:
        """Look at the files every ``interval_s`` seconds, in a thread."""
        self._looks = Looks(self.look, interval_s, f"{self._told.one}s")

    def close(self) -> None:
        if self._looks is not None:
            self._looks.close()

    def look(self) -> None:
        """Apply a change of the files that both this look and the previous one have seen."""
        before, self._seen = self._seen, self._fingerprint()
        if self._seen != before or self._seen == self._tried:
            return
        self._tried = self._seen
        try:
            rules = self._load()
        except (Halt, Retry) as refused:
            if isinstance(refused, Retry):
                self._tried = ""  # the files may be right: the next look loads them again
            self._meter.add(self._told.reloads, outcome="refused")
            self._meter.set(self._told.refused, 1)
            log.error(  # noqa: TRY400 - an expected failure, its message says it all
                "%ss: the changed files cannot be loaded, those loaded before stay in force: %s",
                self._told.one,
                refused.message,
                extra={"code": refused.code},
            )
            return
        replaced, self._current = self._current, rules
        fresh = {name for name, _ in rules.versions.items() - replaced.versions.items()}
        kept = {name: at for name, at in self.changed_at.items() if name in rules.versions}
        self.changed_at = kept | dict.fromkeys(fresh, self._now())
        self._meter.add(self._told.reloads, outcome="loaded")
        self._meter.set(self._told.refused, 0)
        self._tell(replaced.versions)

    def _tell(self, replaced: Mapping[str, str]) -> None:
        versions, told = self._current.versions, self._told
        for name, version in replaced.items() - versions.items():
            self._meter.forget(told.info, **{told.label: name}, version=version)
        for name, version in versions.items():
            self._meter.set(told.info, 1, **{told.label: name}, version=version)
        for name, version in sorted(versions.items() - replaced.items()):
            note(Act.LOADED, told.setting, f"{told.one} {name}, version {version}")
        for name in sorted(replaced.keys() - versions.keys()):
            note(Act.UNLOADED, told.setting, f"{told.one} {name}")
