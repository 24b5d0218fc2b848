"""Label sets and routes from the settings, for the stream worker and any other kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.adapters.clip.text_cache import CachedTexts
from pipeline.adapters.label_files import load_sourced
from pipeline.errors import Halt
from pipeline.flow import Scoring
from pipeline.labels.label_set import LabelSet, LabelSetsPolicy
from pipeline.labels.recorded import SourcedLabelSet
from pipeline.labels.scoring import CompiledLabelSets, EncodeTexts, compile_label_sets
from pipeline.records import ModelIdentity
from pipeline.routes import Router
from workers.settings.loading import Settings


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
    if policy.text_cache_dir is not None:
        encode_texts = CachedTexts(encode_texts, model, policy.text_cache_dir)
    return ScoringRules(
        compile_label_sets(label_sets, encode_texts, model, policy.override_model_pin),
        {label_set.name: label_set.version for label_set in label_sets},
    )
