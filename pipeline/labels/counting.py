"""Counts what label sets decide, for metrics."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.metrics import KNOWN_MATCHES, LABEL_DECISIONS, LABEL_MATCHES
from pipeline.ports import Meter
from pipeline.records import LabelSetResult
from pipeline.records.known import KnownMatch

MAX_LABELS = 200
"""Label sets of more labels count their matches as those of one label. Each label is a series in
each worker, and a set may have thousands."""

OTHER = "other"


def count(results: Iterable[LabelSetResult], meter: Meter) -> None:
    """Count the decision and the matched labels of one image, for each label set that scored it but
    for shadow sets."""
    for result in results:
        if result.shadow:
            continue
        meter.add(LABEL_DECISIONS, label_set=result.label_set, decision=result.decision)
        by_name = len(result.scores) <= MAX_LABELS
        for label in result.matched if by_name else result.matched[:1]:
            meter.add(LABEL_MATCHES, label_set=result.label_set, label=label if by_name else OTHER)


def count_known(matches: Iterable[KnownMatch], meter: Meter) -> None:
    """Count the lists of known pictures that have one image."""
    for match in matches:
        meter.add(KNOWN_MATCHES, known_list=match.known_list)
