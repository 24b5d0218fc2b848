"""Label sets: what to look for in an image, and what to call it.

``pipeline.labels.parsing.parse_label_set`` makes a ``LabelSet`` and checks everything that can be
checked without a model. The code in this file relies on these checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.labels.learnt.calibration import Calibration
from pipeline.labels.learnt.head import Head
from pipeline.policy import Policy, Tier
from pipeline.records import ImageFacts

DEFAULT_UNCLASSIFIED_ACTION = "review"
"""An image that nobody can look at must not pass unseen."""


class LabelSetsPolicy(Policy):
    """Which label sets are loaded, and how their prompts become embeddings."""

    tier = Tier.TUNING

    paths: Annotated[tuple[Path, ...], Tier.EVERYDAY] = Field(
        default=(),
        description="YAML files with one label set each, or folders of such files.",
    )
    reload_interval_s: float = Field(
        default=10.0,
        description=(
            "Seconds between two looks at the files. When two looks in a row see the same change, "
            "it takes effect without a restart, for records admitted from then on. Invalid files "
            "change nothing; the log and the metrics report them. 0: a change takes effect at the "
            "next start."
        ),
        ge=0,
    )
    drift_reference: Path | None = Field(
        default=None,
        description=(
            "File that `clipstream drift reference` has written. Workers of the stream count "
            "scores in its bins, and metrics compare them with the reference. The file is looked "
            "at as the label sets are. A reference of another version or model is not used, and "
            "`clipstream_drift_reference_unfit` says so. null: nothing is compared."
        ),
    )
    override_model_pin: Annotated[bool, Tier.EXPERT] = Field(
        default=False,
        description=(
            "Start even if a label set is pinned to another model than the loaded one. Measure the "
            "thresholds again first: they were chosen for the scores of the other model. Every "
            "start with a pin that does not match logs a warning that names both models."
        ),
    )
    text_cache_dir: Path | None = Field(
        default=Path("~/.cache/clipstream/text-embeddings"),
        description=(
            "Folder that keeps the embeddings of prompts between starts. null: keep none. The "
            "folder may be read-only or missing. Whoever can write to it decides what labels mean, "
            "so give it the same owner as the label sets."
        ),
    )


def version_of(canonical: str) -> str:
    """The version of the label set with this ``LabelSet.canonical``."""
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def canonical_json(meaning: Mapping[str, object]) -> str:
    """JSON without spaces and with sorted keys, in ASCII."""
    return json.dumps(meaning, sort_keys=True, separators=(",", ":"))


class Decision(StrEnum):
    """How similarities become scores."""

    EXCLUSIVE = "exclusive"
    """Exactly one label is right. Scores: softmax over all labels, neutral ones included."""
    INDEPENDENT = "independent"
    """Each label may be right or wrong. Scores: each label against its own contrast prompts."""


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The model that a label set's thresholds were chosen for."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A label whose score is at least ``score`` matches and calls for ``action``."""

    score: float
    action: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What `clipstream labels test` must find, 0 to 1. ``precision`` is that of ``act_threshold``,
    or of ``review_threshold`` if that is the only one. ``recall`` is that of ``review_threshold``,
    or of ``act_threshold``. None: anything will do."""

    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """One label with all its prompts.

    The templates are filled. ``contrast`` is the label's own or the set's; it is empty in an
    exclusive set. ``review.score`` is never above ``act.score``. ``categories`` are those of
    ``pipeline.labels.categories`` that the label covers, in the order of that list.
    """

    name: str
    prompts: tuple[str, ...]
    contrast: tuple[str, ...] = ()
    neutral: bool = False
    act: Threshold | None = None
    review: Threshold | None = None
    categories: tuple[str, ...] = ()
    expect: Expectation | None = None
    calibration: Calibration | None = None

    def action(self, score: float) -> str | None:
        """The action that ``score`` calls for, or None if the label does not match."""
        for threshold in (self.act, self.review):
            if threshold is not None and score >= threshold.score:
                return threshold.action
        return None


REASONS = ("cropped_share", "frames")
"""The conditions of ``ReviewIf`` by name."""

KNOWN = "known"
"""Beside these: a list of known pictures has the image, and raised the decision."""


@dataclass(frozen=True, slots=True)
class ReviewIf:
    """Which images never get less than ``action``, because the model saw only a part of them: those
    of which it did not see ``cropped_share`` of the area or more, and those that have ``frames`` or
    more and of which it did not see all frames. None: however much that is."""

    action: str
    cropped_share: float | None = None
    frames: int | None = None

    def reasons(self, image: ImageFacts) -> tuple[str, ...]:
        """The conditions that the image meets, by the names of their keys."""
        met = (
            self.cropped_share is not None and image.cropped_share >= self.cropped_share,
            self.frames is not None
            and image.frames >= self.frames
            and image.frames > image.frames_seen,
        )
        return tuple(reason for reason, is_met in zip(REASONS, met, strict=True) if is_met)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """A named list of labels, and the rule that makes one decision from their scores.

    ``actions`` are all actions that the set may publish, most severe first. Labels keep the order
    of the file, which is the order of the scores in an event. A ``shadow`` set is scored and
    published, and counts in nothing. With a ``head``, scores are its outputs, and labels have no
    prompts.
    """

    name: str
    decision: Decision
    actions: tuple[str, ...]
    default_action: str
    unclassified_action: str
    labels: tuple[Label, ...]
    model: ModelPin | None = None
    review_if: ReviewIf | None = None
    shadow: bool = False
    head: Head | None = None

    @property
    def version(self) -> str:
        """``sha256:…`` over what the set means, not over how its file is written.

        The hash is taken after templates are filled and defaults applied. Comments, the order of
        keys, quotes and a written-out default do not change it. Neither do expectations, which
        score nothing. Everything else changes it.
        """
        return version_of(self.canonical)

    @property
    def canonical(self) -> str:
        """What the set means, as JSON without spaces and with sorted keys: what the version is the
        hash of."""
        head = None if self.head is None else replace(self.head, weights=None)
        meaning = asdict(replace(self, head=head))
        # Released label sets have none of these keys, and their versions stay as they are.
        if self.review_if is None:
            del meaning["review_if"]
        if not self.shadow:
            del meaning["shadow"]
        if head is None:
            del meaning["head"]
        else:
            del meaning["head"]["weights"]  # their hash stands for them
        for label in meaning["labels"]:
            del label["expect"]
            for key in ("categories", "calibration"):
                if not label[key]:
                    del label[key]
        return canonical_json(meaning)

    def decide(self, scores: Iterable[float]) -> tuple[tuple[str, ...], str]:
        """Return the names of the labels that match, in the set's order, and the set's decision.

        The decision is the most severe action that a matched label calls for, or the default if no
        label matches. ``scores`` are in the labels' order. Callers never pass a NaN, which would
        match nothing.
        """
        matched, decision, _ = self.judge(scores)
        return matched, decision

    def judge(self, scores: Iterable[float]) -> tuple[tuple[str, ...], str, str | None]:
        """As ``decide``, and the matched label that calls for the decision, or None if no label
        matches. Of several, it is the one with the highest score, and of equal scores the first."""
        calls = [
            (self.actions.index(action), -score, place)
            for place, (label, score) in enumerate(zip(self.labels, scores, strict=True))
            if (action := label.action(score)) is not None
        ]
        if not calls:
            return (), self.default_action, None
        severest, _, place = min(calls)
        matched = tuple(self.labels[each].name for _, _, each in calls)
        return matched, self.actions[severest], self.labels[place].name

    def raise_decision(self, decision: str, image: ImageFacts) -> tuple[str, tuple[str, ...]]:
        """The decision about an image whose labels call for ``decision``, and the conditions of
        ``review_if`` that raised it. Without conditions, it is the same decision."""
        if self.review_if is None or self.severity(decision) >= self.severity(
            self.review_if.action
        ):
            return decision, ()
        reasons = self.review_if.reasons(image)
        return (self.review_if.action if reasons else decision), reasons

    def severest(self, actions: Iterable[str]) -> str | None:
        """The most severe of these actions, or None if the set has none of them."""
        own = [action for action in actions if action in self.actions]
        return max(own, key=self.severity, default=None)

    def severity(self, action: str) -> int:
        """Rank of one of the set's actions. The least severe has rank 0."""
        return len(self.actions) - 1 - self.actions.index(action)

    def advice(self) -> tuple[str, ...]:
        """Sentences for the author of the set about what is allowed but rarely intended."""
        advice = []
        neutral = any(label.neutral for label in self.labels)
        if self.decision is Decision.EXCLUSIVE and self.head is None and not neutral:
            advice.append(
                "no label is neutral: an image that shows something else still gets one of these "
                "labels; add labels for ordinary content with `neutral: true`"
            )
        if not any(label.act or label.review for label in self.labels):
            advice.append(
                f"no label has a threshold: every decision is {self.default_action!r}; "
                "write act_threshold or review_threshold"
            )
        elif self.model is None:
            advice.append(
                "no model is pinned: thresholds do not carry over to another model; when you have "
                "measured them, write `model: {name: …, revision: …}`"
            )
        return tuple(advice)
