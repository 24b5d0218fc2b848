"""Label sets: what to look for in an image, and what to say when it is found.

A ``LabelSet`` is made by ``pipeline.labels.parsing.parse_label_set``, which checks everything that
can be checked without a model; what stands here relies on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.policy import Policy, Tier

DEFAULT_UNCLASSIFIED_ACTION = "review"
"""What cannot be looked at must not pass unseen."""


class LabelSetsPolicy(Policy):
    """Which label sets are loaded, and how their prompts become embeddings."""

    tier = Tier.TUNING

    paths: Annotated[tuple[Path, ...], Tier.EVERYDAY] = Field(
        default=(),
        description="YAML files of one label set each, or folders of such files.",
    )
    reload_interval_s: float = Field(
        default=10.0,
        description=(
            "Seconds between two looks at the files for a change. One that two looks in a row have "
            "seen takes effect without a restart, for records admitted from then on; files that "
            "are not valid change nothing, and are told of in the log and the metrics. 0: a change "
            "takes effect at the next start."
        ),
        ge=0,
    )
    override_model_pin: Annotated[bool, Tier.EXPERT] = Field(
        default=False,
        description=(
            "Start even where a label set is pinned to another model than the one loaded. Its "
            "thresholds were chosen for the other model's scores: measure them again first. Every "
            "start with this on logs a warning that names both models."
        ),
    )
    text_cache_dir: Path | None = Field(
        default=Path("~/.cache/clipstream/text-embeddings"),
        description=(
            "Folder that keeps the embeddings of prompts between starts; null keeps none. It may "
            "be read-only or missing. Whoever writes to it decides what labels mean: give it the "
            "same owner as the label sets."
        ),
    )


class Decision(StrEnum):
    """How similarities become scores."""

    EXCLUSIVE = "exclusive"
    """One label is right: softmax over all of them, neutral ones included."""
    INDEPENDENT = "independent"
    """Each label may be right or not: each against its own contrast prompts."""


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The model that a label set's thresholds were chosen for."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """From ``score`` (a probability) on, a label matches and calls for ``action``."""

    score: float
    action: str


@dataclass(frozen=True, slots=True)
class Label:
    """One label with its prompts in full: templates are filled, contrast is its own or the set's.

    ``contrast`` is empty in an exclusive set. ``review.score`` is never above ``act.score``.
    """

    name: str
    prompts: tuple[str, ...]
    contrast: tuple[str, ...] = ()
    neutral: bool = False
    act: Threshold | None = None
    review: Threshold | None = None

    def action(self, score: float) -> str | None:
        """The action that ``score`` calls for, or None where the label does not match."""
        for threshold in (self.act, self.review):
            if threshold is not None and score >= threshold.score:
                return threshold.action
        return None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """A named list of labels with a rule that makes one decision of their scores.

    ``actions`` are all that the set may publish, most severe first. Labels keep the order of the
    file: it is the order of the scores in an event.
    """

    name: str
    decision: Decision
    actions: tuple[str, ...]
    default_action: str
    unclassified_action: str
    labels: tuple[Label, ...]
    model: ModelPin | None = None

    @property
    def version(self) -> str:
        """``sha256:…`` over all that the set means, and nothing of how its file is written.

        Hashed is what the file says once templates are filled and defaults applied: comments, key
        order, quoting, and a default written out do not change it; everything else does.
        """
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

    def decide(self, scores: Iterable[float]) -> tuple[tuple[str, ...], str]:
        """Names of the labels that match, in the set's order, and the set's one decision: the most
        severe action that a matched label calls for, else the default.

        ``scores`` are in the labels' order. A NaN would match nothing: callers never pass one.
        """
        calls = {
            label.name: action
            for label, score in zip(self.labels, scores, strict=True)
            if (action := label.action(score)) is not None
        }
        decision = min(calls.values(), key=self.actions.index, default=self.default_action)
        return tuple(calls), decision

    def severity(self, action: str) -> int:
        """Rank of one of the set's actions, 0 for the least severe."""
        return len(self.actions) - 1 - self.actions.index(action)

    def advice(self) -> tuple[str, ...]:
        """What is allowed but rarely meant, as sentences for whoever wrote the set."""
        advice = []
        if self.decision is Decision.EXCLUSIVE and not any(label.neutral for label in self.labels):
            advice.append(
                "no label is neutral: an image of anything else still gets one of these labels; "
                "add labels of ordinary content with `neutral: true`"
            )
        if not any(label.act or label.review for label in self.labels):
            advice.append(
                f"no label has a threshold: every decision is {self.default_action!r}; "
                "write act_threshold or review_threshold"
            )
        elif self.model is None:
            advice.append(
                "no model is pinned: thresholds do not carry over to another model; once they are "
                "measured, write `model: {name: …, revision: …}`"
            )
        return tuple(advice)
