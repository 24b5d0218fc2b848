"""As ``told``, of the metrics of label sets, known lists and drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline import metrics
from pipeline.metrics import Metric


class Told(NamedTuple):
    """Where it is tested that a metric shows its condition, and that it shows nothing else."""

    shows: str
    silent: str


COUNTING = "unit/labels/test_counting.py"
KNOWN = "unit/known"
LIVE = "unit/labels/test_label_sets_live.py"
DRIFT = "unit/drift/test_watching.py"

TOLD_OF_RULES: Mapping[Metric, tuple[Told, ...]] = {
    metrics.LABEL_SET_INFO: (
        Told(
            f"{LIVE}::test_label_sets_come_and_go",
            f"{LIVE}::test_an_invalid_change_leaves_what_was_in_force",
        ),
    ),
    metrics.DRIFT_SCORES: (
        Told(
            f"{DRIFT}::test_scores_are_counted_by_bin_as_a_hand_counts_them",
            f"{DRIFT}::test_images_of_several_views_are_not_counted",
        ),
    ),
    metrics.DRIFT_SHARES: (
        Told(
            f"{DRIFT}::test_scores_are_counted_by_bin_as_a_hand_counts_them",
            f"{DRIFT}::test_a_reference_that_does_not_fit_is_said_and_not_used",
        ),
    ),
    metrics.DRIFT_IMAGES: (
        Told(
            f"{DRIFT}::test_scores_are_counted_by_bin_as_a_hand_counts_them",
            f"{DRIFT}::test_a_reference_that_does_not_fit_is_said_and_not_used",
        ),
    ),
    metrics.DRIFT_DECISIONS: (
        Told(
            f"{DRIFT}::test_scores_are_counted_by_bin_as_a_hand_counts_them",
            f"{DRIFT}::test_a_reference_that_does_not_fit_is_said_and_not_used",
        ),
    ),
    metrics.DRIFT_EMBEDDINGS: (
        Told(
            f"{DRIFT}::test_embeddings_are_as_far_as_their_mean_and_spread_are",
            f"{DRIFT}::test_images_of_several_views_are_not_counted",
        ),
    ),
    metrics.DRIFT_UNFIT: (
        Told(
            f"{DRIFT}::test_a_reference_that_does_not_fit_is_said_and_not_used",
            f"{DRIFT}::test_scores_are_counted_by_bin_as_a_hand_counts_them",
        ),
    ),
    metrics.LABEL_SETS_REFUSED: (
        Told(
            f"{LIVE}::test_an_invalid_change_leaves_what_was_in_force",
            f"{LIVE}::test_label_sets_that_are_as_they_were_before_the_refusal_are_refused_no_longer",
        ),
    ),
    metrics.LABEL_DECISIONS: (
        Told(
            "unit/encode/test_flow.py"
            "::test_the_decision_of_a_scored_image_is_counted_and_that_of_no_other",
            f"{COUNTING}::test_an_image_that_matches_nothing_counts_as_a_decision_alone",
        ),
    ),
    metrics.LABEL_MATCHES: (
        Told(
            f"{COUNTING}::test_each_label_set_counts_its_decision_and_the_labels_that_matched",
            f"{COUNTING}::test_an_image_that_matches_nothing_counts_as_a_decision_alone",
        ),
    ),
    metrics.KNOWN_LIST_INFO: (
        Told(
            f"{KNOWN}/test_known_live.py"
            "::test_a_change_takes_effect_at_the_second_look_that_sees_it",
            f"{KNOWN}/test_known_live.py::test_without_lists_nothing_is_watched",
        ),
    ),
    metrics.KNOWN_LIST_RELOADS: (
        Told(
            f"{KNOWN}/test_known_live.py::test_a_bad_version_is_refused_and_the_one_before_stays",
            f"{KNOWN}/test_known_live.py"
            "::test_a_change_takes_effect_at_the_second_look_that_sees_it",
        ),
    ),
    metrics.KNOWN_LISTS_REFUSED: (
        Told(
            f"{KNOWN}/test_known_live.py::test_a_bad_version_is_refused_and_the_one_before_stays",
            f"{KNOWN}/test_known_live.py::test_a_bad_version_is_refused_and_the_one_before_stays",
        ),
    ),
    metrics.KNOWN_MATCHES: (
        Told(
            f"{KNOWN}/test_known_decisions.py"
            "::test_a_match_is_counted_by_its_list_and_an_image_without_one_is_not",
            f"{KNOWN}/test_known_decisions.py"
            "::test_a_match_is_counted_by_its_list_and_an_image_without_one_is_not",
        ),
    ),
    metrics.LABEL_SET_RELOADS: (
        Told(
            f"{LIVE}::test_an_invalid_change_leaves_what_was_in_force",
            f"{LIVE}::test_a_file_that_is_still_being_written_is_not_loaded",
        ),
    ),
}
