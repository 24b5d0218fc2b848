"""What is compared with a reference: how scores, decisions and embeddings were."""

from __future__ import annotations

from pipeline.metrics.metric import Kind, Metric, metric

DRIFT_SCORES = metric(
    Kind.COUNTER,
    "drift_scores_total",
    "Scores of a label by bin of the reference (label_sets.drift_reference). Updated every 64 "
    "images. Images of several views are not counted. The label reference tells one reference file "
    "from another.",
    "clipstream:drift:psi compares the counts of all workers with the reference.",
    ("label_set", "label", "bin", "reference"),
)
DRIFT_SHARES = metric(
    Kind.GAUGE,
    "drift_reference_share",
    "Share of the reference's images whose score for the label is in the bin.",
    "Nothing to do: it changes with the file.",
    ("label_set", "label", "bin", "reference"),
)
DRIFT_IMAGES = metric(
    Kind.GAUGE,
    "drift_reference_images",
    "Images that the reference of a label set was made of.",
    "Fewer than 1,000: write a reference of a longer window.",
    ("label_set", "reference"),
)
DRIFT_DECISIONS = metric(
    Kind.GAUGE,
    "drift_reference_decision_share",
    "Share of the reference's images with the decision.",
    "Compare with the share of clipstream_label_decisions_total.",
    ("label_set", "decision"),
)
DRIFT_EMBEDDINGS = metric(
    Kind.GAUGE,
    "drift_embeddings",
    "How far the embeddings of this worker's last images, some 1,000, are from the reference, by "
    "measure. cosine: 1 less the cosine of both means. spreads: the distance of the means in units "
    "of the reference's spread. spread: the spread in the same units. Updated every 64 images.",
    "spreads above 0.5, or spread far from 1: other images arrive. See "
    "docs/runbooks/ClipstreamScoresDrifted.md.",
    ("label_set", "measure"),
)
DRIFT_UNFIT = metric(
    Kind.GAUGE,
    "drift_reference_unfit",
    "1 for a label set in force that the reference says nothing about, because it is of another "
    "version or model, or cannot be read; else 0. Only with label_sets.drift_reference.",
    "The log says why. Write the reference anew with `clipstream drift reference`.",
    ("label_set",),
)

DRIFT_METRICS: tuple[Metric, ...] = (
    DRIFT_SCORES,
    DRIFT_SHARES,
    DRIFT_IMAGES,
    DRIFT_DECISIONS,
    DRIFT_EMBEDDINGS,
    DRIFT_UNFIT,
)
"""The comparison with a reference: exposed by stream workers with label_sets.drift_reference."""
