"""Computes the scores of an embedding for label sets.

All arithmetic is in float64 unless float32 is named. ``docs/label-sets.md`` shows how to derive a
score again from what is published.

- A prompt's vector ``p`` is the text encoder's output (float32), divided by its length.
- A label's vector is the mean of its prompts' vectors, divided by its length and rounded to float32
  once. The vector of its contrast prompts is computed in the same way. The mean of embeddings, not
  of scores, is the prompt ensemble of Radford et al. 2021, section 3.1.4
  (https://arxiv.org/abs/2103.00020).
- A similarity is the dot product of the embedding and a label's vector, limited to [-1, 1]. The
  embedding is taken *as published*: float16 or float32, with its rounding, not normalised again.
- Exclusive: ``score = softmax(logit_scale * similarity)`` over all labels, neutral ones included.
- Independent: ``score = 1 / (1 + exp(-logit_scale * (similarity - contrast similarity)))``, which
  is the softmax of the two.
- Of a head, ``learnt.head`` makes the scores. It compares with no vector: similarities are 0.
- Of a calibrated label, ``learnt.calibration`` makes a probability of the score.

float64 is necessary: logit_scale is about 100, so an error of 1e-7 in a float32 similarity would
become 1e-5 in a score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from pipeline.errors import Halt, Reject
from pipeline.labels.label_set import DEFAULT_UNCLASSIFIED_ACTION, KNOWN, Decision, LabelSet
from pipeline.labels.learnt.calibration import Calibrations
from pipeline.labels.learnt.head import Head
from pipeline.labels.learnt.logistic import Float64s, sigmoid, softmax
from pipeline.labels.pins import check_pins
from pipeline.labels.strongest import strongest
from pipeline.labels.wording.vectors import PromptVectors
from pipeline.records import (
    ImageFacts,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Vector,
)
from pipeline.records.known import KnownMatch

EncodeTexts = Callable[[Sequence[str]], Vector]
"""Embeds prompts: unit vectors [len(prompts), dimension] in order."""

_NONE: Vector = np.zeros((0, 0), np.float32)
_MAX_LOGIT_SCALE = 1e4
"""CLIP is trained with at most 100. A checkpoint with far more is broken."""
_SAME = 1e-9
"""Unit vectors up to this squared distance are the same. Prompts with equal tokens that were
embedded in batches of different shapes are within 1e-11."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledLabelSet:
    """A label set with its labels' vectors for one model. Immutable and safe to share.

    ``rows`` are the labels' vectors in the set's order, then each contrast once. So one product
    gives every similarity. The vectors are rounded to float32 and kept as float64, because the
    product needs float64. ``contrast_rows`` has the row of each label's contrast; it is empty in an
    exclusive set.
    """

    label_set: LabelSet
    version: str
    logit_scale: float
    rows: Float64s
    contrast_rows: npt.NDArray[np.intp]
    calibrations: Calibrations | None = None

    @property
    def label_vectors(self) -> Vector:
        """float32 [labels, dimension], in the label set's order."""
        return self.rows[: len(self.label_set.labels)].astype(np.float32)

    def score(self, embedding: npt.NDArray[np.floating]) -> LabelSetResult:
        """The result for one embedding [dimension], with the values that are published. ``judge``
        is for an image: nothing is known of one here.

        Raises:
            Reject: ``encode.non_finite``. A NaN would match no label and so look harmless.
        """
        return self._decided(self._scores(embedding))

    def judge(self, looked: Looked, known: Sequence[KnownMatch] = ()) -> LabelSetResult:
        """The result for an image: the strongest scores of its views. ``review_if`` may raise the
        decision, and so may ``known``, the lists that have the image. Scores come from the values
        that are published, so that anyone can derive them again.

        Raises:
            Reject: as ``score``.
        """
        if looked.views is None:
            scores = self._scores(looked.embedding)
        else:
            scores = strongest(map(self._scores, looked.views.embeddings))
        result = self._decided(scores, looked.image)
        return self._raised(result, known) if known else result

    def _scores(self, embedding: npt.NDArray[np.floating]) -> tuple[LabelScore, ...]:
        vector = embedding.astype(np.float64)
        # Not finite if any element is not finite. The square of a float32 fits a double.
        if not math.isfinite(vector @ vector):
            raise Reject(
                "encode.non_finite",
                "scoring: the embedding has values that are not finite; check the precision",
            )
        if (head := self.label_set.head) is not None:
            own = np.zeros(len(self.label_set.labels))
            return self._told(head.scores(head.outputs(vector), exclusive=self._exclusive), own)
        similarities = self.rows @ vector
        # The same as np.clip, which takes longer than the product.
        np.minimum(similarities, 1.0, out=similarities)
        np.maximum(similarities, -1.0, out=similarities)
        own = similarities[: len(self.label_set.labels)]
        if self._exclusive:
            scores = softmax(self.logit_scale * own)
        else:
            contrast = similarities[self.contrast_rows]
            scores = sigmoid(self.logit_scale * (own - contrast))
        return self._told(scores, own)

    @property
    def _exclusive(self) -> bool:
        return self.label_set.decision is Decision.EXCLUSIVE

    def _told(self, scores: Float64s, own: Float64s) -> tuple[LabelScore, ...]:
        """``own`` are the similarities."""
        told = zip(self.label_set.labels, scores.tolist(), own.tolist(), strict=True)
        found = tuple(
            LabelScore(label.name, score, similarity) for label, score, similarity in told
        )
        if self.calibrations is None:
            return found
        probabilities = self.calibrations.probabilities(scores).tolist()
        return tuple(
            each if math.isnan(probability) else replace(each, probability=probability)
            for each, probability in zip(found, probabilities, strict=True)
        )

    def _decided(
        self, scores: tuple[LabelScore, ...], image: ImageFacts | None = None
    ) -> LabelSetResult:
        label_set = self.label_set
        matched, of_labels, severe_label = label_set.judge(each.score for each in scores)
        decision, raised = of_labels, tuple[str, ...]()
        if image is not None:
            decision, raised = label_set.raise_decision(of_labels, image)
        return LabelSetResult(
            label_set=label_set.name,
            version=self.version,
            scores=scores,
            matched=matched,
            decision=decision,
            severe_label=severe_label,
            severity=label_set.severity(decision),
            is_default=decision == label_set.default_action,
            raised=raised,
            labels_decision=of_labels if raised else None,
            shadow=label_set.shadow,
        )

    def _raised(self, result: LabelSetResult, known: Sequence[KnownMatch]) -> LabelSetResult:
        """The result with a decision that is no less severe than the actions of ``known`` that the
        set has."""
        action = self.label_set.severest((result.decision, *(match.action for match in known)))
        if action is None or self.label_set.severity(action) == result.severity:
            return result
        alone = result.labels_decision
        return replace(
            result,
            decision=action,
            severity=self.label_set.severity(action),
            is_default=action == self.label_set.default_action,
            raised=(*result.raised, KNOWN),
            labels_decision=result.decision if alone is None else alone,
        )


class CompiledLabelSets:
    """Every loaded label set, for one model.

    Immutable: a change of label sets makes a new object, so an event never mixes two versions.
    """

    def __init__(self, compiled: Iterable[CompiledLabelSet]) -> None:
        self._compiled: Mapping[str, CompiledLabelSet] = {
            each.label_set.name: each for each in compiled
        }

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._compiled)

    def __iter__(self) -> Iterator[CompiledLabelSet]:
        return iter(self._compiled.values())

    def judge(
        self, names: Iterable[str], looked: Looked, known: Sequence[KnownMatch] = ()
    ) -> tuple[LabelSetResult, ...]:
        """What the label sets ``names`` say of an image, in their order. ``known`` are the lists of
        known pictures that have the image.

        Raises:
            Reject: ``encode.non_finite``; ``reference.unknown_label_set`` if a set was unloaded
                after the reference was routed.
        """
        return tuple(self._named(name).judge(looked, known) for name in names)

    def unheard(self, names: Iterable[str], known: Sequence[KnownMatch]) -> str | None:
        """The first action of ``known`` that none of the label sets ``names`` has, or None. Nothing
        says how severe it is beside their actions. Shadow sets have no part in it."""
        own = {action for each in self._deciding(names) for action in each.actions}
        return next((match.action for match in known if match.action not in own), None)

    def unclassified_action(self, names: Iterable[str], known: Sequence[KnownMatch] = ()) -> str:
        """The action for an image that nobody looked at, from the label sets that should score it.
        Shadow sets count in none. ``known`` are the lists of known pictures that have the file:
        the action is never less severe than theirs, and an unheard one comes first.

        Of several label sets, the one counts whose ``unclassified_action`` is most steps above the
        least severe action of its own set. Between equals, the set named first counts. So a set for
        which an unseen image is harmless never overrules a set for which it is not.
        """
        names, actions = tuple(names), [match.action for match in known]
        if (unheard := self.unheard(names, known)) is not None:
            return unheard
        wanted = [
            (label_set.severity(action), action)
            for label_set in self._deciding(names)
            if (action := label_set.severest((label_set.unclassified_action, *actions))) is not None
        ]
        return max(wanted, key=itemgetter(0), default=(0, DEFAULT_UNCLASSIFIED_ACTION))[1]

    def _deciding(self, names: Iterable[str]) -> Iterator[LabelSet]:
        """The label sets of these names that are loaded and count."""
        loaded = (self._compiled[name].label_set for name in names if name in self._compiled)
        return (label_set for label_set in loaded if not label_set.shadow)

    def _named(self, name: str) -> CompiledLabelSet:
        try:
            return self._compiled[name]
        except KeyError:
            raise Reject(
                "reference.unknown_label_set",
                f"scoring: label set {name!r} is not loaded (loaded: "
                f"{', '.join(sorted(self._compiled))}); load it, or mend the route",
            ) from None


def compile_label_sets(
    label_sets: Sequence[LabelSet],
    encode_texts: EncodeTexts,
    model: ModelIdentity,
    override_pin: bool = False,
) -> CompiledLabelSets:
    """Embed the prompts of ``label_sets`` in one call, and compute the labels' vectors.

    A prompt that several labels share is embedded once. ``label_sets`` is not empty.

    Raises:
        Halt: ``label_set.invalid``: the model cannot tell two labels apart, or a label from its
            contrast.
        Halt: ``label_set.pinned``: a set is pinned to another model, and ``override_pin`` is off.
        Halt: ``label_set.duplicate``: two sets have the same name.
        Halt: ``label_set.not_embeddable``: the embeddings have the wrong shape, are not finite or
            cancel each other out, or the model's logit scale is out of range.
        Halt: what ``encode_texts`` raises.
    """
    names = [label_set.name for label_set in label_sets]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Halt(
            "label_set.duplicate",
            f"label sets: {', '.join(twice)} loaded twice; rename or drop one",
        )
    check_pins(label_sets, model.name, model.revision, override_pin)
    if not 0 < model.logit_scale <= _MAX_LOGIT_SCALE:  # false for a NaN, too
        raise Halt(
            "label_set.not_embeddable",
            f"{model.name}: logit scale {model.logit_scale} (above 0, at most "
            f"{_MAX_LOGIT_SCALE:.0f}); check the checkpoint",
        )
    prompts = tuple(
        dict.fromkeys(
            prompt
            for label_set in label_sets
            for label in label_set.labels
            for prompt in (*label.prompts, *label.contrast)
        )
    )
    vectors = PromptVectors(prompts, encode_texts(prompts) if prompts else _NONE, model)
    return CompiledLabelSets(_compile(label_set, vectors, model) for label_set in label_sets)


def _compile(label_set: LabelSet, vectors: PromptVectors, model: ModelIdentity) -> CompiledLabelSet:
    if label_set.head is not None:
        _check_head(label_set, label_set.head, model)
        return CompiledLabelSet(
            label_set=label_set,
            version=label_set.version,
            logit_scale=model.logit_scale,
            rows=np.zeros((0, model.dimension)),
            contrast_rows=np.array([], np.intp),
            calibrations=_calibrations(label_set),
        )
    contrasts = tuple(dict.fromkeys(label.contrast for label in label_set.labels if label.contrast))
    where = f"label set {label_set.name!r}"
    rows = [
        vectors.ensemble(label.prompts, f"{where}: label {label.name!r}")
        for label in label_set.labels
    ] + [vectors.ensemble(contrast, f"{where}: contrast") for contrast in contrasts]
    row_of = {contrast: len(label_set.labels) + row for row, contrast in enumerate(contrasts)}
    matrix = np.stack(rows).astype(np.float32).astype(np.float64)
    matrix.setflags(write=False)
    contrast_rows = np.array(
        [row_of[label.contrast] for label in label_set.labels if label.contrast], dtype=np.intp
    )
    _check_told_apart(label_set, matrix[: len(label_set.labels)], matrix[contrast_rows])
    return CompiledLabelSet(
        label_set=label_set,
        version=label_set.version,
        logit_scale=model.logit_scale,
        rows=matrix,
        contrast_rows=contrast_rows,
        calibrations=_calibrations(label_set),
    )


def _calibrations(label_set: LabelSet) -> Calibrations | None:
    """Those of a set with a calibrated label."""
    found = [label.calibration for label in label_set.labels]
    return Calibrations(found) if any(found) else None


def _check_head(label_set: LabelSet, head: Head, model: ModelIdentity) -> None:
    where = f"label set {label_set.name!r}: head"
    if head.weights is None:
        raise Halt(
            "label_set.invalid",
            f"{where}: its weights are not at hand; give the label set's file with the file of "
            f"SHA-256 {head.sha256} beside it",
        )
    if head.weights.inputs != model.dimension:
        raise Halt(
            "label_set.invalid",
            f"{where}: takes in {head.weights.inputs} numbers, and an embedding of {model.name} "
            f"has {model.dimension}; load the model that the head was trained on",
        )


def _check_told_apart(label_set: LabelSet, labels: Float64s, contrasts: Float64s) -> None:
    """Refuse labels that the model cannot tell apart. Which of them matches would be chance.

    ``wording.prompts`` refuses what the files alone show. This check finds more, such as prompts
    that differ only in case or Unicode form.
    """
    where = f"label set {label_set.name!r}"
    equal = _same(labels)
    if len(contrasts):
        own = np.square(labels - contrasts).sum(axis=1)
        for index in np.flatnonzero(own <= _SAME).tolist():
            raise Halt(
                "label_set.invalid",
                f"{where}: label {label_set.labels[index].name!r} and its contrast are the same to "
                "the model; write prompts that differ",
            )
        equal &= _same(contrasts)
    for one, other in np.argwhere(np.triu(equal, 1)).tolist():
        raise Halt(
            "label_set.invalid",
            f"{where}: the model cannot tell label {label_set.labels[other].name!r} from "
            f"{label_set.labels[one].name!r}; write prompts that differ, or remove one of them",
        )


def _same(vectors: Float64s) -> npt.NDArray[np.bool_]:
    """Which pairs of the unit vectors are the same: [vectors, vectors]."""
    products = vectors @ vectors.T
    squares = np.diagonal(products)
    return squares[:, np.newaxis] + squares - 2 * products <= _SAME
