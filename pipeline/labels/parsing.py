"""The format of label sets: plain data in, a ``LabelSet`` or everything that is wrong out.

Plain data is what YAML or JSON hold. Where a problem stands in a file is known to whoever read the
file: a ``Problem`` names a path of keys. ``docs/label-sets.md`` describes the format.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.labels.document import Problem, Section, identifier, quoted, too_long
from pipeline.labels.label_set import (
    DEFAULT_UNCLASSIFIED_ACTION,
    Decision,
    Label,
    LabelSet,
    ModelPin,
    Threshold,
)
from pipeline.labels.prompts import PromptTokens, prompt_problems
from pipeline.records import JsonValue

SET_KEYS = (
    "name",
    "decision",
    "actions",
    "default_action",
    "unclassified_action",
    "act_action",
    "review_action",
    "templates",
    "contrast",
    "model",
    "labels",
)
LABEL_KEYS = (
    "name",
    "phrases",
    "prompts",
    "contrast",
    "neutral",
    "act_threshold",
    "act_action",
    "review_threshold",
    "review_action",
)
MODEL_KEYS = ("name", "revision")

PLACEHOLDER = "{}"
MAX_LABELS = 1_000
"""An event holds every label's score: about 100 bytes each, of a record's usual 1 MiB."""
MAX_LABEL_NAME_CHARACTERS = 100
MAX_PROMPTS_PER_LABEL = 500


class InvalidLabelSet(Exception):
    """The data is no label set; ``problems`` is never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))


def parse_label_set(document: JsonValue, tokens: PromptTokens | None = None) -> LabelSet:
    """Make a label set of plain data; with ``tokens``, one whose prompts the model can take.

    Raises:
        InvalidLabelSet: with all that is wrong.
    """
    problems: list[Problem] = []
    section = Section(document, (), SET_KEYS, problems)
    shared = _Shared.read(section)
    name = section.text("name", identifier, required=True) or ""
    default_action = _action(section, "default_action", shared.actions, required=True) or ""
    unclassified_action = _action(section, "unclassified_action", shared.actions)
    if unclassified_action is None:
        unclassified_action = DEFAULT_UNCLASSIFIED_ACTION
        if shared.actions and unclassified_action not in shared.actions:
            section.complain(
                f"lacks {unclassified_action!r}, which unclassified_action is unless written; "
                "add it here, or write unclassified_action",
                "actions",
            )
    labels = _labels(section, shared)
    pin = _model_pin(section)
    if problems:
        raise InvalidLabelSet(tuple(problems))
    label_set = LabelSet(
        name=name,
        decision=shared.decision or Decision.EXCLUSIVE,
        actions=shared.actions,
        default_action=default_action,
        unclassified_action=unclassified_action,
        labels=labels,
        model=pin,
    )
    if problems := list(prompt_problems(label_set, tokens)):
        raise InvalidLabelSet(tuple(problems))
    return label_set


@dataclass(frozen=True, slots=True)
class _Shared:
    """What labels take from their set. ``decision`` is None where it cannot be read."""

    decision: Decision | None
    actions: tuple[str, ...]
    templates: tuple[str, ...] | None
    contrast: tuple[str, ...] | None
    act_action: str | None
    review_action: str | None

    @classmethod
    def read(cls, section: Section) -> _Shared:
        decision = section.text("decision", required=True)
        if decision and decision not in tuple(Decision):
            choices = " or ".join(Decision)
            section.complain(f"{quoted(decision)} is unknown; write {choices}", "decision")
            decision = None
        actions = section.texts("actions", identifier, required=True) or ()
        contrast = section.texts("contrast", _prompt)
        if contrast is not None and decision == Decision.EXCLUSIVE:
            section.complain(
                "is for independent sets; write neutral labels instead, or `decision: independent`",
                "contrast",
            )
        act_action = _action(section, "act_action", actions)
        review_action = _action(section, "review_action", actions)
        _check_severity(section, act_action, review_action, actions)
        return cls(
            decision=Decision(decision) if decision else None,
            actions=actions,
            templates=section.texts("templates", _template),
            contrast=contrast,
            act_action=act_action,
            review_action=review_action,
        )


def _model_pin(section: Section) -> ModelPin | None:
    pin = section.section("model", MODEL_KEYS)
    if pin is None:
        return None
    return ModelPin(
        name=pin.text("name", required=True) or "",
        revision=pin.text("revision", required=True) or "",
    )


def _labels(section: Section, shared: _Shared) -> tuple[Label, ...]:
    entries = section.sections("labels", LABEL_KEYS)
    if len(entries) > MAX_LABELS:
        section.complain(
            f"{len(entries)} labels, more than {MAX_LABELS}; split the label set", "labels"
        )
        return ()
    labels = [_label(entry, shared) for entry in entries]
    seen: set[str] = set()
    for entry, label in zip(entries, labels, strict=True):
        if label.name and label.name in seen:
            entry.complain(f"{quoted(label.name)} is taken; write another name", "name")
        seen.add(label.name)
    if labels and all(label.neutral for label in labels):
        section.complain("all are neutral, so none can match; write one that is not", "labels")
    elif len(labels) == 1 and shared.decision is Decision.EXCLUSIVE:
        section.complain(
            "a single label of an exclusive set always scores 1; add what it is to be told from",
            "labels",
        )
    return tuple(labels)


def _label(section: Section, shared: _Shared) -> Label:
    name = section.text("name", _label_name, required=True) or ""
    prompts = _prompts(section, shared, name)
    contrast = _contrast(section, shared, prompts)
    neutral = section.flag("neutral")
    if neutral and shared.decision is Decision.INDEPENDENT:
        section.complain(
            "is for exclusive sets; write its prompts under contrast instead", "neutral"
        )
    act = _threshold(section, "act", shared.act_action, shared.actions)
    review = _threshold(section, "review", shared.review_action, shared.actions)
    if neutral and (section.has("act_threshold") or section.has("review_threshold")):
        section.complain("a neutral label never matches; remove its thresholds", "neutral")
    if act and review:
        if review.score > act.score:
            section.complain(
                f"{review.score} is above act_threshold = {act.score}; write a lower one",
                "review_threshold",
            )
        if section.has("act_action") or section.has("review_action"):
            _check_severity(section, act.action, review.action, shared.actions)
    return Label(name, prompts, contrast, neutral, act, review)


def _prompts(section: Section, shared: _Shared, name: str) -> tuple[str, ...]:
    """The label's prompts in full: as written, then each phrase in each template."""
    written = section.texts("prompts", _prompt) or ()
    phrases = section.texts("phrases", _prompt)
    if phrases is None:
        phrases = () if section.has("prompts") else (name,)
    if phrases and shared.templates is None:
        section.complain(
            "has nothing to embed: write templates in the label set, or prompts here",
            *(("phrases",) if section.has("phrases") else ()),
        )
    templates = shared.templates or ()
    count = len(written) + len(phrases) * len(templates)
    if count > MAX_PROMPTS_PER_LABEL:
        section.complain(
            f"makes {count} prompts, more than {MAX_PROMPTS_PER_LABEL}; "
            "write fewer phrases or templates"
        )
        return ()
    filled = [template.replace(PLACEHOLDER, phrase) for phrase in phrases for template in templates]
    prompts = (*written, *filled)
    for prompt, times in Counter(prompts).items():
        if times > 1:
            section.complain(f"makes the prompt {quoted(prompt)} twice; write it once")
    for prompt in filled:
        if (wrong := too_long(prompt)) is not None:
            section.complain(f"makes a prompt that is too long: {wrong}")
    return prompts


def _contrast(section: Section, shared: _Shared, prompts: tuple[str, ...]) -> tuple[str, ...]:
    own = section.texts("contrast", _prompt)
    if shared.decision is not Decision.INDEPENDENT:
        if own is not None and shared.decision is Decision.EXCLUSIVE:
            section.complain("is for independent sets; write neutral labels instead", "contrast")
        return ()
    contrast = own if own is not None else shared.contrast
    if contrast is None:
        section.complain(
            "has no contrast, which an independent label is scored against; "
            "write `contrast: [prompts of what it is to be told from]` here or in the label set"
        )
        return ()
    for prompt in set(prompts).intersection(contrast):
        section.complain(f"{quoted(prompt)} is both a prompt and its contrast; remove it from one")
    return contrast


def _threshold(
    section: Section, kind: str, shared_action: str | None, actions: tuple[str, ...]
) -> Threshold | None:
    score = section.probability(f"{kind}_threshold")
    own_action = _action(section, f"{kind}_action", actions)
    if not section.has(f"{kind}_threshold"):
        if own_action is not None:
            section.complain(
                f"does nothing without {kind}_threshold; write one, or remove this",
                f"{kind}_action",
            )
        return None
    action = own_action if own_action is not None else shared_action
    if action is None:
        section.complain(
            f"has no action; write {kind}_action here or in the label set", f"{kind}_threshold"
        )
    if score is None or action is None:
        return None
    return Threshold(score, action)


def _check_severity(
    section: Section, act: str | None, review: str | None, actions: tuple[str, ...]
) -> None:
    if act in actions and review in actions and actions.index(act) > actions.index(review):
        section.complain(
            f"act_action {act!r} is less severe than review_action {review!r}, so a higher score "
            "would weaken the decision; exchange them, or mend the order of actions",
            "act_action" if section.has("act_action") else "review_action",
        )


def _action(
    section: Section, key: str, actions: tuple[str, ...], *, required: bool = False
) -> str | None:
    action = section.text(key, required=required)
    if action and actions and action not in actions:
        listed = ", ".join(actions)
        section.complain(
            f"{quoted(action)} is not among actions ({listed}); write one of them, or add it", key
        )
    return action


def _label_name(text: str) -> str | None:
    return too_long(text, MAX_LABEL_NAME_CHARACTERS)


def _prompt(text: str) -> str | None:
    if "{" in text or "}" in text:
        return f"{quoted(text)} has braces; only the label set's templates are filled"
    return None


def _template(text: str) -> str | None:
    rest = text.replace(PLACEHOLDER, "", 1)
    if rest == text or "{" in rest or "}" in rest:
        return (
            f"{quoted(text)} is no template; write {PLACEHOLDER} once, where the phrase goes, "
            "and no other braces"
        )
    return None
