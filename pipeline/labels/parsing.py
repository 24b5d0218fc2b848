"""The format of label sets: plain data in, a ``LabelSet`` or everything that is wrong out.

Plain data is what YAML or JSON hold; ``written`` takes it key by key, and here its keys are put
together. ``docs/label-sets.md`` describes the format.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.complaints import KeyPath, Problem, quoted
from pipeline.labels.categories import CATEGORIES
from pipeline.labels.label_set import (
    DEFAULT_UNCLASSIFIED_ACTION,
    Decision,
    Expectation,
    Label,
    LabelSet,
    ModelPin,
    ReviewIf,
    Threshold,
)
from pipeline.labels.learnt.calibration import Calibration, Isotonic, Platt
from pipeline.labels.learnt.head import Head, Layer
from pipeline.labels.values import too_long
from pipeline.labels.wording.prompts import prompt_problems
from pipeline.labels.written import (
    EXPECT_KEYS,
    WrittenLabel,
    WrittenSet,
    read_written,
)
from pipeline.ports import PromptTokens
from pipeline.records import JsonValue

MAX_LABELS = 1_000
"""An event holds every label's score: about 100 bytes each, of a record's usual 1 MiB."""
MAX_PROMPTS_PER_LABEL = 500
REVIEW = "review"
"""The action of ``review_if`` in a set without ``review_action``."""


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
    written, problems = read_written(document)
    if written is None:
        raise InvalidLabelSet(tuple(problems))
    label_set = _meant(written, _Notes(problems))
    problems = problems or list(prompt_problems(label_set, tokens))
    if problems:
        raise InvalidLabelSet(tuple(problems))
    return label_set


@dataclass(frozen=True, slots=True)
class _Notes:
    """What is wrong with the keys of one mapping together."""

    problems: list[Problem]
    path: KeyPath = ()

    def complain(self, message: str, *keys: str | int) -> None:
        self.problems.append(Problem((*self.path, *keys), message))


def _meant(written: WrittenSet, notes: _Notes) -> LabelSet:
    """What is meant by a set, for whose wrong values anything stands."""
    actions = written.actions or ()
    for key in ("default_action", "unclassified_action", "act_action", "review_action"):
        _check_action(notes, key, getattr(written, key), actions)
    unclassified_action = written.unclassified_action
    if not written.has("unclassified_action"):
        unclassified_action = DEFAULT_UNCLASSIFIED_ACTION
        if actions and unclassified_action not in actions:
            notes.complain(
                f"lacks {unclassified_action!r}, which unclassified_action is unless written; "
                "add it here, or write unclassified_action",
                "actions",
            )
    if written.has("contrast") and written.decision == Decision.EXCLUSIVE:
        notes.complain(
            "is for independent sets; write neutral labels instead, or `decision: independent`",
            "contrast",
        )
    _check_severity(notes, written, written.act_action, written.review_action, actions)
    return LabelSet(
        name=written.name or "",
        decision=Decision(written.decision or Decision.EXCLUSIVE),
        actions=actions,
        default_action=written.default_action or "",
        unclassified_action=unclassified_action or "",
        labels=_labels(written, notes),
        model=ModelPin(pin.name or "", pin.revision or "") if (pin := written.model) else None,
        review_if=_review_if(written, notes),
        shadow=bool(written.shadow),
        head=_head(written, notes),
    )


def _head(shared: WrittenSet, notes: _Notes) -> Head | None:
    if (written := shared.head) is None:
        return None
    for key in ("templates", "contrast"):
        if shared.has(key):
            notes.complain("is for prompts, and a head has none; remove it", key)
    if not shared.has("model"):
        notes.complain("works on the embeddings of one model; write model", "head")
    if written.range is not None and shared.decision == Decision.EXCLUSIVE:
        what = "is for independent sets: scores of an exclusive set add up to 1; remove it"
        notes.complain(what, "head", "range")
    layers = [Layer(each.tensors, each.activation) for each in written.layers or ()]
    scale = 1.0 if written.scale is None else written.scale
    return Head(written.sha256 or "", tuple(layers) or (Layer(),), scale, written.range)


def _review_if(written: WrittenSet, notes: _Notes) -> ReviewIf | None:
    """The action is the set's ``review_action``, else the action ``review``."""
    if (review_if := written.review_if) is None:
        return None
    told = any(problem.path[:1] == ("review_if",) for problem in notes.problems)
    if not review_if.model_fields_set and not told:
        notes.complain("names no condition; write cropped_share, frames or both", "review_if")
    actions = written.actions or ()
    action = written.review_action
    if not written.has("review_action"):
        action = REVIEW
        if actions and action not in actions:
            notes.complain(
                f"has no action: actions lacks {REVIEW!r}; write review_action in the label set",
                "review_if",
            )
    default = written.default_action
    if action in actions and default in actions and actions.index(action) >= actions.index(default):
        notes.complain(
            f"would raise nothing: its action {action!r} is no more severe than default_action "
            f"{default!r}; write a more severe review_action, or mend the order of actions",
            "review_if",
        )
    return ReviewIf(action or "", review_if.cropped_share, review_if.frames)


def _labels(shared: WrittenSet, notes: _Notes) -> tuple[Label, ...]:
    written = shared.labels or ()
    if len(written) > MAX_LABELS:
        notes.complain(
            f"{len(written)} labels, more than {MAX_LABELS}; split the label set", "labels"
        )
        return ()
    seen: set[str] = set()
    for index, label in enumerate(written):
        if label.name is not None and label.name in seen:
            what = f"{quoted(label.name)} is taken; write another name"
            notes.complain(what, "labels", index, "name")
        seen.add(label.name or "")
    if written and all(label.neutral for label in written):
        notes.complain("all are neutral, so none can match; write one that is not", "labels")
    elif len(written) == 1 and shared.decision == Decision.EXCLUSIVE:
        notes.complain(
            "a single label of an exclusive set always scores 1; add what it is to be told from",
            "labels",
        )
    return tuple(
        _label(label, shared, _Notes(notes.problems, ("labels", index)))
        for index, label in enumerate(written)
    )


def _label(label: WrittenLabel, shared: WrittenSet, notes: _Notes) -> Label:
    prompts = _prompts(label, shared, notes)
    contrast = _contrast(label, shared, prompts, notes)
    if label.neutral and shared.decision == Decision.INDEPENDENT:
        notes.complain("is for exclusive sets; write its prompts under contrast instead", "neutral")
    act = _threshold(label, shared, "act", notes)
    review = _threshold(label, shared, "review", notes)
    if label.neutral and (label.has("act_threshold") or label.has("review_threshold")):
        notes.complain("a neutral label never matches; remove its thresholds", "neutral")
    if act and review:
        if review.score > act.score:
            notes.complain(
                f"{review.score} is above act_threshold = {act.score}; write a lower one",
                "review_threshold",
            )
        if label.has("act_action") or label.has("review_action"):
            _check_severity(notes, label, act.action, review.action, shared.actions or ())
    return Label(
        label.name or "",
        prompts,
        contrast,
        bool(label.neutral),
        act,
        review,
        _categories(label, notes),
        _expectation(label, shared, notes),
        _calibration(label, shared, notes),
    )


def _prompts(label: WrittenLabel, shared: WrittenSet, notes: _Notes) -> tuple[str, ...]:
    """The label's prompts in full: as written, then each phrase in each template."""
    if shared.has("head"):
        for key in ("prompts", "phrases", "contrast"):
            if label.has(key):
                notes.complain("is of a label set with a head, which reads none; remove it", key)
        return ()
    phrases = label.phrases or ()
    if not label.has("phrases") and not label.has("prompts"):
        phrases = (label.name or "",)
    if phrases and not shared.has("templates"):
        notes.complain(
            "has nothing to embed: write templates in the label set, or prompts here",
            *(("phrases",) if label.has("phrases") else ()),
        )
    written, templates = label.prompts or (), shared.templates or ()
    count = len(written) + len(phrases) * len(templates)
    if count > MAX_PROMPTS_PER_LABEL:
        notes.complain(
            f"makes {count} prompts, more than {MAX_PROMPTS_PER_LABEL}; "
            "write fewer phrases or templates"
        )
        return ()
    filled = [template.replace("{}", phrase) for phrase in phrases for template in templates]
    prompts = (*written, *filled)
    for prompt, times in Counter(prompts).items():
        if times > 1:
            notes.complain(f"makes the prompt {quoted(prompt)} twice; write it once")
    for prompt in filled:
        if (wrong := too_long(prompt)) is not None:
            notes.complain(f"makes a prompt that is too long: {wrong}")
    return prompts


def _contrast(
    label: WrittenLabel, shared: WrittenSet, prompts: tuple[str, ...], notes: _Notes
) -> tuple[str, ...]:
    if shared.has("head"):
        return ()
    if shared.decision != Decision.INDEPENDENT:
        if label.contrast is not None and shared.decision == Decision.EXCLUSIVE:
            notes.complain("is for independent sets; write neutral labels instead", "contrast")
        return ()
    if not label.has("contrast") and not shared.has("contrast"):
        notes.complain(
            "has no contrast, which an independent label is scored against; "
            "write `contrast: [prompts of what it is to be told from]` here or in the label set"
        )
    contrast = label.contrast if label.has("contrast") else shared.contrast
    for prompt in set(prompts).intersection(contrast or ()):
        notes.complain(f"{quoted(prompt)} is both a prompt and its contrast; remove it from one")
    return contrast or ()


def _threshold(
    label: WrittenLabel, shared: WrittenSet, which: str, notes: _Notes
) -> Threshold | None:
    key, action_key = f"{which}_threshold", f"{which}_action"
    score: float | None = getattr(label, key)
    action: str | None = getattr(label, action_key)
    _check_action(notes, action_key, action, shared.actions or ())
    if not label.has(key):
        if label.has(action_key):
            notes.complain(f"does nothing without {key}; write one, or remove this", action_key)
        return None
    if not label.has(action_key):
        action = getattr(shared, action_key)
        if not shared.has(action_key):
            notes.complain(f"has no action; write {action_key} here or in the label set", key)
    return None if score is None or action is None else Threshold(score, action)


def _categories(label: WrittenLabel, notes: _Notes) -> tuple[str, ...]:
    """A category that no score can flag would look harmless in every image."""
    if not label.has("category"):
        return ()
    if label.neutral:
        notes.complain("a neutral label never matches; remove its category", "category")
    elif not label.has("act_threshold") and not label.has("review_threshold"):
        notes.complain(
            "would never be flagged; write review_threshold or act_threshold, or remove this",
            "category",
        )
    return tuple(category for category in CATEGORIES if category in (label.category or ()))


def _expectation(label: WrittenLabel, shared: WrittenSet, notes: _Notes) -> Expectation | None:
    """What is expected of the label: its own, key by key, else the set's."""
    if not label.has("act_threshold") and not label.has("review_threshold"):
        if label.has("expect"):
            what = "is of a label that never matches; write a threshold, or remove this"
            notes.complain(what, "expect")
        return None
    written = [each for each in (label.expect, shared.expect) if each is not None]
    precision, recall = (
        next((value for each in written if (value := getattr(each, key)) is not None), None)
        for key in EXPECT_KEYS
    )
    if precision is None and recall is None:
        return None
    return Expectation(precision, recall)


def _calibration(label: WrittenLabel, shared: WrittenSet, notes: _Notes) -> Calibration | None:
    if (written := label.calibration) is None:
        return None
    if not shared.has("model"):
        notes.complain(
            "was learnt on the scores of one model; write model in the label set", "calibration"
        )
    if written.has("platt") == written.has("isotonic"):
        notes.complain("needs one of platt and isotonic; write one of them", "calibration")
    sample = written.sample or ""
    if written.isotonic is not None:
        return Isotonic(written.isotonic, sample)
    if (platt := written.platt) is None:
        return None
    return Platt(platt.slope or 0.0, platt.intercept or 0.0, sample)


def _check_severity(
    notes: _Notes,
    written: WrittenSet | WrittenLabel,
    act: str | None,
    review: str | None,
    actions: tuple[str, ...],
) -> None:
    if act in actions and review in actions and actions.index(act) > actions.index(review):
        notes.complain(
            f"act_action {act!r} is less severe than review_action {review!r}, so a higher score "
            "would weaken the decision; exchange them, or mend the order of actions",
            "act_action" if written.has("act_action") else "review_action",
        )


def _check_action(notes: _Notes, key: str, action: str | None, actions: tuple[str, ...]) -> None:
    if action is not None and actions and action not in actions:
        listed = ", ".join(actions)
        notes.complain(
            f"{quoted(action)} is not among actions ({listed}); write one of them, or add it", key
        )
