"""Derives a published result again, step by step, and says where the two differ.

``scoring`` has the formulas. Steps in between are computed here, and the scores by ``scoring``
itself, so that whatever scores images also explains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.labels.label_set import KNOWN, Label, LabelSet
from pipeline.labels.learnt.logistic import Float64s
from pipeline.labels.scoring import CompiledLabelSet, EncodeTexts
from pipeline.records import LabelSetResult, Looked
from pipeline.records.known import KnownMatch

TOLERANCE = 1e-6
"""Largest difference of a score from the published one, if both were computed from the same prompt
embeddings."""


@dataclass(frozen=True, slots=True)
class PromptStep:
    """One prompt. ``cosine`` is that between the image and the prompt."""

    prompt: str
    cosine: float


@dataclass(frozen=True, slots=True)
class LabelSteps:
    """How one label got its score.

    ``mean_length`` is the length of the mean of the prompts' unit vectors, before the mean is
    normalised: 1 for prompts that are the same to the model. ``contrast`` is the cosine between
    the image and the contrast's vector, None in an exclusive set. ``logit`` is what softmax or the
    logistic function is applied to: of a head, its output. Of a head, there are no prompts and no
    cosines. ``action`` is what the score calls for, None for a label that
    does not match. Of an image with several views, all is of the view at the place ``view``, where
    the score is largest. ``probability`` is what the label's calibration makes of the score, None
    if it has none. The event has ``published_score``, ``published_similarity`` and
    ``published_probability``; they are None if it has no such label.
    """

    label: str
    prompts: tuple[PromptStep, ...]
    mean_length: float
    similarity: float
    contrast: float | None
    logit: float
    score: float
    view: int | None
    action: str | None
    probability: float | None
    published_score: float | None
    published_similarity: float | None
    published_probability: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The derivation of one label set's result. ``rule`` says in words why the decision is what it
    is. ``differences`` are sentences about what does not match the event; none if all does."""

    label_set: str
    version: str
    logit_scale: float
    labels: tuple[LabelSteps, ...]
    matched: tuple[str, ...]
    decision: str
    rule: str
    largest_difference: float
    differences: tuple[str, ...]


def explain(
    compiled: CompiledLabelSet,
    encode_texts: EncodeTexts,
    looked: Looked,
    published: LabelSetResult,
    tolerance: float = TOLERANCE,
    known: Sequence[KnownMatch] = (),
) -> Explanation:
    """Derive ``published`` from what the model saw: the published embedding, or those of the
    views. ``encode_texts`` embeds the prompts as it did for ``compiled``. ``known`` are the lists
    of known pictures that the event names; whether they have the image is not derived.

    Raises:
        Reject: ``encode.non_finite``: the embedding has a NaN or an infinity.
        Halt: as ``encode_texts``.
    """
    label_set, head = compiled.label_set, compiled.label_set.head
    derived = compiled.judge(looked, known)
    seen = looked.embedding[np.newaxis] if looked.views is None else looked.views.embeddings
    vectors = seen.astype(np.float64)
    cosines = np.clip(vectors @ compiled.rows.T, -1.0, 1.0)
    contrasts = cosines[:, compiled.contrast_rows] if len(compiled.contrast_rows) else None
    outputs = None if head is None else head.outputs(vectors)
    told = {each.label: each for each in published.scores}
    prompts_of = _prompt_vectors(label_set, encode_texts) if head is None else {}
    labels = []
    for place, (label, own) in enumerate(zip(label_set.labels, derived.scores, strict=True)):
        view = own.view or 0
        contrast = None if contrasts is None else float(contrasts[view, place])
        prompts = prompts_of.get(label.name)
        logit = compiled.logit_scale * (own.similarity - (contrast or 0.0))
        if outputs is not None:
            logit = float(outputs[view, place])
        here = told.get(label.name)
        labels.append(
            LabelSteps(
                label=label.name,
                prompts=() if prompts is None else _prompt_steps(label, prompts, vectors[view]),
                mean_length=0.0 if prompts is None else float(np.linalg.norm(prompts.mean(axis=0))),
                similarity=own.similarity,
                contrast=contrast,
                logit=logit,
                score=own.score,
                view=own.view,
                action=label.action(own.score),
                probability=own.probability,
                published_score=None if here is None else here.score,
                published_similarity=None if here is None else here.similarity,
                published_probability=None if here is None else here.probability,
            )
        )
    return Explanation(
        label_set=label_set.name,
        version=compiled.version,
        logit_scale=compiled.logit_scale,
        labels=tuple(labels),
        matched=derived.matched,
        decision=derived.decision,
        rule=_rule(label_set, labels, derived),
        largest_difference=max(
            (
                abs(each.score - each.published_score)
                for each in labels
                if each.published_score is not None
            ),
            default=0.0,
        ),
        differences=tuple(_differences(derived, published, tolerance)),
    )


def _prompt_vectors(label_set: LabelSet, encode_texts: EncodeTexts) -> dict[str, Float64s]:
    """The unit vectors of each label's prompts, embedded in one call."""
    counts = [len(label.prompts) for label in label_set.labels]
    vectors = encode_texts([prompt for label in label_set.labels for prompt in label.prompts])
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    parts = np.split(unit, np.cumsum(counts)[:-1])
    return {label.name: part for label, part in zip(label_set.labels, parts, strict=True)}


def _prompt_steps(label: Label, prompts: Float64s, vector: Float64s) -> tuple[PromptStep, ...]:
    cosines = (prompts @ vector).tolist()
    return tuple(
        PromptStep(prompt, cosine) for prompt, cosine in zip(label.prompts, cosines, strict=True)
    )


def _rule(label_set: LabelSet, labels: Sequence[LabelSteps], derived: LabelSetResult) -> str:
    of_labels = _rule_of_labels(label_set, labels, derived)
    if derived.labels_decision is None:
        return of_labels
    reasons = " and ".join(reason for reason in derived.raised if reason != KNOWN)
    if KNOWN not in derived.raised:
        return f"{of_labels}; review_if raises it to {derived.decision!r} because of {reasons}"
    before = f"review_if raises it because of {reasons}, and " if reasons else ""
    return f"{of_labels}; {before}a list of known pictures raises it to {derived.decision!r}"


def _rule_of_labels(
    label_set: LabelSet, labels: Sequence[LabelSteps], derived: LabelSetResult
) -> str:
    decision = derived.labels_decision or derived.decision
    calls = [each for each in labels if each.action is not None]
    if not calls:
        return f"no label reaches a threshold, so the decision is the default, {decision!r}"
    deciding = next(each for each in calls if each.label == derived.severe_label)
    label = next(each for each in label_set.labels if each.name == deciding.label)
    which, score = next(
        (key, threshold.score)
        for key, threshold in (("act_threshold", label.act), ("review_threshold", label.review))
        if threshold is not None and deciding.score >= threshold.score
    )
    order = " > ".join(label_set.actions)
    return (
        f"{deciding.label!r} scores {deciding.score:.6g}, at or above its {which} {score:g}, which "
        f"calls for {decision!r}: the most severe action of {len(calls)} matched "
        f"label{'s' if len(calls) > 1 else ''} ({order})"
    )


def _differences(
    derived: LabelSetResult, published: LabelSetResult, tolerance: float
) -> Sequence[str]:
    where = f"label set {derived.label_set!r}"
    names = [each.label for each in derived.scores]
    told = [each.label for each in published.scores]
    if names != told:
        return [f"{where}: the event lists the labels {told}, and this version has {names}"]
    found = []
    for ours, theirs in zip(derived.scores, published.scores, strict=True):
        for what, here, there in (
            ("similarity", ours.similarity, theirs.similarity),
            ("score", ours.score, theirs.score),
            ("probability", ours.probability, theirs.probability),
        ):
            if here is None or there is None:
                if here is not there:
                    found.append(
                        f"{where}, label {ours.label!r}: the event's {what} is {there}, and {here} "
                        "is derived"
                    )
            # Not `>`: a NaN in the event differs.
            elif not abs(here - there) <= tolerance:
                found.append(
                    f"{where}, label {ours.label!r}: the event's {what} is {there:.9g}, and "
                    f"{here:.9g} is derived (difference {abs(here - there):.2g}, more than "
                    f"{tolerance:g})"
                )
        if ours.view != theirs.view:
            found.append(
                f"{where}, label {ours.label!r}: the event's score is of view {theirs.view}, and "
                f"that of view {ours.view} is the largest"
            )
    if derived.matched != published.matched:
        found.append(
            f"{where}: the event says that {list(published.matched)} match, and "
            f"{list(derived.matched)} is derived"
        )
    if derived.decision != published.decision:
        found.append(
            f"{where}: the event's decision is {published.decision!r}, and {derived.decision!r} "
            "is derived"
        )
    ours_raised = derived.raised, derived.labels_decision
    theirs_raised = published.raised, published.labels_decision
    if ours_raised != theirs_raised:
        found.append(
            f"{where}: the event says that review_if or a list raised "
            f"{published.labels_decision!r} for {list(published.raised)}, and "
            f"{derived.labels_decision!r} for {list(derived.raised)} is derived"
        )
    return found
