"""Label sets and routes from the settings, for the stream worker and any other kind. A change of
their files takes effect without a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pipeline import metrics
from pipeline.adapters.clip.text_cache import cached
from pipeline.adapters.label_files import load_sourced
from pipeline.errors import Halt, Retry
from pipeline.labels.label_set import LabelSet, LabelSetsPolicy
from pipeline.labels.recorded import SourcedLabelSet
from pipeline.labels.scoring import CompiledLabelSets, EncodeTexts, compile_label_sets
from pipeline.metrics import Metric
from pipeline.ports import Meter
from pipeline.records import ModelIdentity
from pipeline.routes import Router
from pipeline.rules import Scoring
from workers.audit import Act, note
from workers.looks import Looks
from workers.settings.loading import Settings

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
    refusal: str


LABEL_SETS = Told(
    "label set",
    "label_sets.paths",
    "label_set",
    metrics.LABEL_SET_INFO,
    metrics.LABEL_SET_RELOADS,
    metrics.LABEL_SETS_REFUSED,
    "label sets: the changed files cannot be loaded, those loaded before stay in force: %s",
)
KNOWN_LISTS = Told(
    "known list",
    "known.lists",
    "known_list",
    metrics.KNOWN_LIST_INFO,
    metrics.KNOWN_LIST_RELOADS,
    metrics.KNOWN_LISTS_REFUSED,
    "known lists: the changed files cannot be loaded, those loaded before stay in force: %s",
)


@dataclass(frozen=True, slots=True)
class ScoringRules:
    """One version of the label sets, compiled for the model.

    ``versions`` maps each label set's name to its content hash.
    """

    scoring: CompiledLabelSets
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that read records and rules that score. A reference is routed and its image scored by
    the same version, so no outcome mixes two."""

    router: Router
    scoring: Scoring
    versions: Mapping[str, str]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The labels of each label set, in its order."""


BeforeUse = Callable[[Sequence[SourcedLabelSet], ModelIdentity], object]
"""Called with label sets that are valid and about to be used. May raise ``Halt`` or ``Retry``, so
that they are not."""


def load_scoring(
    policy: LabelSetsPolicy,
    model: ModelIdentity,
    encode_texts: EncodeTexts,
    before_use: BeforeUse = lambda label_sets, model: None,
) -> ScoringRules:
    """The configured label sets. Prompts are embedded by the model, or come from the cache of an
    earlier start.

    Raises:
        Halt: a label set is not valid, or not for this model, or there is none; or as
            ``before_use``.
        Retry: as ``before_use``.
    """
    sourced = _read(policy)
    compiled = _compiled(_label_sets(sourced), policy, model, encode_texts)
    before_use(sourced, model)
    return compiled


def load_rules(
    settings: Settings,
    model: ModelIdentity,
    encode_texts: EncodeTexts,
    before_use: BeforeUse = lambda label_sets, model: None,
) -> Rules:
    """As ``load_scoring``, with the routes to the label sets.

    Raises:
        Halt: as ``load_scoring``, or a route is not valid.
        Retry: as ``load_scoring``.
    """
    sourced, router = _read_routes(settings)
    label_sets = _label_sets(sourced)
    compiled = _compiled(label_sets, settings.label_sets, model, encode_texts)
    before_use(sourced, model)
    labels = {each.name: [label.name for label in each.labels] for each in label_sets}
    return Rules(router, compiled.scoring, compiled.versions, labels)


def load_routes(settings: Settings) -> tuple[tuple[LabelSet, ...], Router]:
    """The configured label sets, as in their files, and the routes to them. Needs no model.

    Raises:
        Halt: a label set or a route is not valid, or there is none.
    """
    sourced, router = _read_routes(settings)
    return _label_sets(sourced), router


def _read_routes(settings: Settings) -> tuple[tuple[SourcedLabelSet, ...], Router]:
    sourced = _read(settings.label_sets)
    try:
        router = Router(
            settings.routes,
            [each.label_set.name for each in sourced],
            removals=settings.events.removals,
        )
    except ValueError as error:
        raise Halt("settings.invalid", str(error)) from error
    return sourced, router


def _label_sets(sourced: Sequence[SourcedLabelSet]) -> tuple[LabelSet, ...]:
    return tuple(each.label_set for each in sourced)


def _read(policy: LabelSetsPolicy) -> tuple[SourcedLabelSet, ...]:
    if not policy.paths:
        raise Halt(
            "label_set.none",
            "label_sets.paths: no label set is configured; name a file, for example "
            "deploy/examples/label-sets/moderation.yaml",
        )
    return load_sourced(policy.paths)


def _compiled(
    label_sets: Sequence[LabelSet],
    policy: LabelSetsPolicy,
    model: ModelIdentity,
    encode_texts: EncodeTexts,
) -> ScoringRules:
    encode_texts = cached(encode_texts, model, policy.text_cache_dir)
    return ScoringRules(
        compile_label_sets(label_sets, encode_texts, model, policy.override_model_pin),
        {label_set.name: label_set.version for label_set in label_sets},
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
                self._told.refusal,
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
