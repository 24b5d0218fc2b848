"""Computes the scores of many embeddings at a time, by the formulas of ``scoring``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import Reject
from pipeline.labels.label_set import REASONS, Decision, LabelSet
from pipeline.labels.learnt.logistic import Float64s, sigmoid, softmax
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import LabelSetResult

_AT_ONCE = 4_096
"""Rows whose float64 copy is in memory at a time: 16 MiB at 512 dimensions."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One label set's results for many images: ``scores``, ``similarities`` and ``matched`` are
    [images, labels]. ``decisions`` [images] are places in the label set's ``actions``: what the
    labels alone decide, or of published results what was decided. ``probabilities``
    [images, labels] are NaN for labels without calibration; None: no label has one."""

    scores: Float64s
    similarities: Float64s
    matched: npt.NDArray[np.bool_]
    decisions: npt.NDArray[np.intp]
    probabilities: Float64s | None = None


def score_block(compiled: CompiledLabelSet, embeddings: npt.NDArray[np.floating]) -> Block:
    """Score embeddings [images, dimension], with the values that are published. The result of each
    is that of ``compiled.score`` but for the last bits: sums are taken in another order.

    Raises:
        Reject: ``encode.non_finite``, as ``compiled.score``.
    """
    count, head = len(compiled.label_set.labels), compiled.label_set.head
    exclusive = compiled.label_set.decision is Decision.EXCLUSIVE
    similarities = np.empty((len(embeddings), count))
    scores = np.empty((len(embeddings), count))
    for first in range(0, len(embeddings), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        vectors = embeddings[part].astype(np.float64, copy=False)
        products = vectors @ compiled.rows.T
        if not np.isfinite(products if head is None else vectors).all():
            raise Reject(
                "encode.non_finite",
                "scoring: an embedding has values that are not finite; check the precision",
            )
        if head is not None:
            similarities[part] = 0.0
            scores[part] = head.scores(head.outputs(vectors), exclusive=exclusive)
            continue
        np.clip(products, -1.0, 1.0, out=products)
        own = similarities[part] = products[:, :count]
        if exclusive:
            scores[part] = softmax(compiled.logit_scale * own)
        else:
            contrast = products[:, compiled.contrast_rows]
            scores[part] = sigmoid(compiled.logit_scale * (own - contrast))
    matched, decisions = _decide(compiled.label_set, scores)
    calibrations = compiled.calibrations
    probabilities = None if calibrations is None else calibrations.probabilities(scores)
    return Block(scores, similarities, matched, decisions, probabilities)


def block_of(label_set: LabelSet, results: Sequence[LabelSetResult]) -> Block:
    """Results that were published, one or more. All are of this version of the label set."""
    return Block(
        np.array([[each.score for each in result.scores] for result in results]),
        np.array([[each.similarity for each in result.scores] for result in results]),
        np.array(
            [[label.name in result.matched for label in label_set.labels] for result in results]
        ),
        np.array([label_set.actions.index(result.decision) for result in results], dtype=np.intp),
    )


def score_views(
    compiled: CompiledLabelSet,
    embeddings: npt.NDArray[np.floating],
    firsts: npt.NDArray[np.intp],
) -> tuple[Block, npt.NDArray[np.intp]]:
    """As ``strongest``, for the embeddings [views, dimension] of all views of many images.
    ``firsts`` [images] are the places of the images' first views, and the others follow them.

    Returns also the place among its image's views, from 0, of the view whose score each label has:
    [images, labels].

    Raises:
        Reject: as ``score_block``.
    """
    of_views = score_block(compiled, embeddings)
    scores = np.maximum.reduceat(of_views.scores, firsts, axis=0)
    images = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(embeddings)))
    numbers = np.arange(len(embeddings))[:, np.newaxis]
    largest = np.where(of_views.scores == scores[images], numbers, len(embeddings))
    views = np.minimum.reduceat(largest, firsts, axis=0)
    similarities = np.take_along_axis(of_views.similarities, views, axis=0)
    probabilities = of_views.probabilities
    if probabilities is not None:
        probabilities = np.take_along_axis(probabilities, views, axis=0)
    matched, decisions = _decide(compiled.label_set, scores)
    block = Block(scores, similarities, matched, decisions, probabilities)
    return block, views - firsts[:, np.newaxis]


@dataclass(frozen=True, slots=True, eq=False)
class RaisedBlock:
    """The decisions of many images after the label set's ``review_if``. ``reasons`` [images,
    conditions] has the conditions of ``REASONS`` that raised them."""

    decisions: npt.NDArray[np.intp]
    reasons: npt.NDArray[np.bool_]


def raise_block(
    label_set: LabelSet,
    decisions: npt.NDArray[np.intp],
    cropped_shares: Float64s,
    frames: npt.NDArray[np.integer],
    frames_seen: npt.NDArray[np.integer] | None = None,
) -> RaisedBlock:
    """As ``LabelSet.raise_decision``, for images with these facts. Without ``frames_seen``, the
    model saw one frame of each."""
    reasons = np.zeros((len(decisions), len(REASONS)), dtype=np.bool_)
    review_if = label_set.review_if
    if review_if is None:
        return RaisedBlock(decisions, reasons)
    action = label_set.actions.index(review_if.action)
    below = decisions > action
    if review_if.cropped_share is not None:
        reasons[:, 0] = below & (cropped_shares >= review_if.cropped_share)
    if review_if.frames is not None:
        seen_all = False if frames_seen is None else frames_seen >= frames
        reasons[:, 1] = below & (frames >= review_if.frames) & ~np.asarray(seen_all)
    return RaisedBlock(np.where(reasons.any(axis=1), action, decisions), reasons)


def _decide(
    label_set: LabelSet, scores: Float64s
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """As ``LabelSet.decide``: which labels match, and the most severe action they call for."""
    none = len(label_set.actions)
    calls = np.full(scores.shape, none, dtype=np.intp)
    for place, label in enumerate(label_set.labels):
        # The first threshold that is reached counts, so it is written last.
        for threshold in (label.review, label.act):
            if threshold is not None:
                reached = scores[:, place] >= threshold.score
                calls[reached, place] = label_set.actions.index(threshold.action)
    decisions = calls.min(axis=1, initial=none)
    decisions[decisions == none] = label_set.actions.index(label_set.default_action)
    return calls < none, decisions
