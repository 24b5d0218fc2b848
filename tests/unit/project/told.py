"""Where it is tested that each metric shows the condition that its text names, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline import metrics
from pipeline.metrics import Metric
from tests.unit.project.told_of_rules import TOLD_OF_RULES, Told

COMMITS = "unit/stream/test_metrics_of_commits.py"
COMMITTING = "unit/stream/test_committing.py"
WORKER = "unit/stream/test_stream_worker.py"
FETCH, OUTAGES = "unit/fetch/test_fetch.py", "unit/fetch/test_fetch_outages.py"
STORES = "unit/fetch/test_fetch_stores.py"
BATCHING, FAILURES = "unit/encode/test_batching.py", "unit/encode/test_batching_failures.py"
GATE, BODIES = "unit/serve/test_gate_told.py", "unit/serve/test_gate.py"
KEYS = "unit/serve/test_keys.py"
FLEET = "unit/endpoints/test_fleet.py"
ROOM = "unit/serve/test_room.py"
JOB = "unit/backfill/test_running_job.py"
TOLD_BY_WORKERS = "unit/backfill/test_told_by_workers.py"
SANDBOX = "component/test_decoder_sandbox.py"
TRACES = "component/test_traces.py"

TOLD: Mapping[Metric, tuple[Told, ...]] = {
    metrics.WORKER_UP: (
        Told(
            f"{FLEET}::test_the_driver_serves_the_series_of_all_its_workers_with_their_labels",
            f"{FLEET}::test_an_absent_worker_is_visible_and_its_series_are_not",
        ),
    ),
    metrics.REFERENCES: (
        Told(
            f"{COMMITS}::test_outcomes_are_counted_once_committed_by_what_became_of_them",
            f"{COMMITS}::test_outcomes_that_wait_for_their_commit_are_held_and_not_counted",
        ),
    ),
    metrics.DEAD_LETTERS: (
        Told(
            f"{COMMITS}::test_outcomes_are_counted_once_committed_by_what_became_of_them",
            f"{COMMITS}::test_outcomes_that_wait_for_their_commit_are_held_and_not_counted",
        ),
    ),
    metrics.UNSUPPORTED_FORMATS: (
        Told(
            f"{WORKER}::test_dead_letters_of_unsupported_formats_are_counted_by_format",
            f"{WORKER}::test_dead_letters_of_other_codes_are_of_no_format",
        ),
    ),
    metrics.SKIPPED: (
        Told(
            f"{COMMITS}::test_outcomes_are_counted_once_committed_by_what_became_of_them",
            f"{COMMITS}::test_outcomes_that_wait_for_their_commit_are_held_and_not_counted",
        ),
    ),
    metrics.STAGE_SECONDS: (
        Told(
            f"{FETCH}::test_a_failure_that_passes_is_retried",
            f"{FETCH}::test_waiting_for_a_slot_is_no_failure",
        ),
        Told(
            "unit/encode/test_flow.py::"
            "test_stages_are_timed_of_images_that_went_through_them_refused_ones_included",
            "unit/encode/test_flow.py::"
            "test_stages_are_timed_of_images_that_went_through_them_refused_ones_included",
        ),
        Told(
            f"{BATCHING}::test_queueing_is_timed_for_each_image_and_encoding_for_each_batch",
            f"{BATCHING}::test_queueing_is_timed_for_each_image_and_encoding_for_each_batch",
        ),
        Told(
            f"{COMMITS}::test_a_commit_that_succeeds_is_counted_and_timed",
            f"{COMMITS}::test_a_commit_that_is_lost_is_a_failure",
        ),
    ),
    metrics.LATENCY_SECONDS: (
        Told(
            f"{COMMITS}::test_latency_is_from_the_records_time_to_the_commit",
            f"{COMMITS}::test_a_record_without_a_time_has_no_latency",
        ),
    ),
    metrics.BATCH_SIZE: (
        Told(
            f"{BATCHING}::test_queueing_is_timed_for_each_image_and_encoding_for_each_batch",
            f"{BATCHING}::test_a_batch_without_callers_never_reaches_the_encoder",
        ),
    ),
    metrics.QUEUE_DEPTH: (
        Told(
            f"{FETCH}::test_no_more_objects_are_read_at_once_than_allowed",
            f"{FETCH}::test_a_cancelled_fetch_leaves_no_trace",
        ),
        Told(
            f"{SANDBOX}::test_the_queue_is_what_waits_and_not_what_is_decoded",
            f"{SANDBOX}::test_the_queue_is_what_waits_and_not_what_is_decoded",
        ),
        Told(
            f"{BATCHING}::test_while_the_device_is_busy_a_partial_batch_grows",
            f"{BATCHING}::test_a_batch_without_callers_never_reaches_the_encoder",
        ),
    ),
    metrics.IN_FLIGHT: (
        Told(
            f"{COMMITS}::test_outcomes_that_wait_for_their_commit_are_held_and_not_counted",
            f"{COMMITS}::test_what_is_committed_is_no_longer_held",
        ),
    ),
    metrics.IN_FLIGHT_BYTES: (
        Told(
            f"{COMMITS}::test_outcomes_that_wait_for_their_commit_are_held_and_not_counted",
            f"{COMMITS}::test_what_is_committed_is_no_longer_held",
        ),
    ),
    metrics.LAG: (
        Told(
            f"{COMMITTING}::test_gauges_go_on_while_nothing_can_be_committed",
            f"{COMMITS}::test_what_is_committed_is_no_longer_held",
        ),
    ),
    metrics.DONE_AHEAD: (
        Told(
            f"{COMMITS}::test_outcomes_that_wait_for_nobody_are_no_lag",
            f"{COMMITS}::test_what_is_committed_is_no_longer_held",
        ),
    ),
    metrics.OLDEST_SECONDS: (
        Told(
            f"{COMMITTING}::test_gauges_go_on_while_nothing_can_be_committed",
            f"{COMMITS}::test_what_is_committed_is_no_longer_held",
        ),
    ),
    metrics.COMMIT_AGE_SECONDS: (
        Told(
            f"{COMMITTING}::test_gauges_go_on_while_nothing_can_be_committed",
            f"{COMMITS}::test_an_image_that_takes_long_does_not_age_commits",
        ),
    ),
    metrics.COMMITS: (
        Told(
            f"{COMMITS}::test_a_commit_that_succeeds_is_counted_and_timed",
            f"{COMMITS}::test_a_commit_that_is_lost_is_a_failure",
        ),
        Told(
            f"{COMMITS}::test_a_commit_found_done_after_all_succeeded",
            f"{COMMITS}::test_nothing_to_commit_is_no_commit",
        ),
    ),
    metrics.COMMIT_FAILURES: (
        Told(
            f"{COMMITS}::test_a_commit_that_is_lost_is_a_failure",
            f"{COMMITS}::test_a_commit_that_succeeds_is_counted_and_timed",
        ),
    ),
    metrics.REBALANCES: (
        Told(
            f"{COMMITS}::test_a_change_of_assignment_is_counted",
            f"{COMMITS}::test_nothing_to_commit_is_no_commit",
        ),
    ),
    metrics.ASSIGNED: (
        Told(
            f"{COMMITS}::test_a_change_of_assignment_is_counted",
            f"{COMMITS}::test_a_partition_that_was_revoked_is_no_longer_shown",
        ),
    ),
    metrics.FETCHED_BYTES: (
        Told(
            f"{FETCH}::test_the_object_named_is_read_under_the_limit",
            f"{OUTAGES}::test_the_last_object_of_a_stream_is_settled_by_reading_an_earlier_one_again",
        ),
    ),
    metrics.FETCH_RETRIES: (
        Told(
            f"{FETCH}::test_a_failure_that_passes_is_retried",
            f"{FETCH}::test_the_object_named_is_read_under_the_limit",
        ),
    ),
    metrics.DECODER_RESTARTS: (
        Told(
            f"{SANDBOX}::test_a_crash_is_tried_again_in_a_fresh_process_and_counted",
            f"{SANDBOX}::test_a_process_is_replaced_after_its_share_of_images",
        ),
    ),
    metrics.BREAKER_OPEN: (
        Told(
            f"{OUTAGES}::test_an_outage_dead_letters_nothing_and_ends_by_itself",
            f"{FETCH}::test_an_object_that_keeps_failing_beside_others_is_dead_lettered",
        ),
    ),
    metrics.STORE_BREAKER_OPEN: (
        Told(
            f"{STORES}::test_an_outage_of_one_store_opens_its_breaker_alone_and_the_other_goes_on",
            f"{STORES}::test_an_outage_of_one_store_opens_its_breaker_alone_and_the_other_goes_on",
        ),
    ),
    metrics.BUDGET_SPENT: (
        Told(
            "unit/stream/test_commit_gate.py::test_the_share_is_shown_while_something_is_held_back",
            "unit/stream/test_commit_gate.py::test_good_outcomes_pass",
        ),
    ),
    metrics.MAX_BATCH: (
        Told(
            f"{FAILURES}::test_an_out_of_memory_lowers_the_batches_that_follow",
            f"{FAILURES}::test_an_out_of_memory_lowers_the_batches_that_follow",
        ),
    ),
    metrics.MODEL_INFO: (
        Told(
            f"{COMMITS}::test_the_model_is_named_by_what_the_worker_runs",
            f"{COMMITS}::test_the_model_is_named_by_what_the_worker_runs",
        ),
    ),
    metrics.LAST_PROGRESS: (
        Told(
            f"{COMMITS}::test_progress_is_a_commit_that_finished_a_reference",
            f"{COMMITS}::test_a_commit_that_is_lost_is_a_failure",
        ),
    ),
    metrics.TRACE_SPANS: (
        Told(
            f"{TRACES}::test_an_image_has_a_span_below_its_senders_and_one_for_each_stage",
            f"{TRACES}::test_images_that_are_not_sampled_make_no_span",
        ),
    ),
    metrics.TRACE_SPANS_EXPORTED: (
        Told(
            f"{TRACES}::test_a_receiver_that_refuses_costs_spans_and_no_outcome",
            f"{TRACES}::test_an_image_has_a_span_below_its_senders_and_one_for_each_stage",
        ),
    ),
    metrics.HTTP_REQUESTS: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
        ),
    ),
    metrics.HTTP_REQUEST_SECONDS: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
        ),
    ),
    metrics.HTTP_IN_FLIGHT: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
        ),
    ),
    metrics.HTTP_IMAGES_IN_HAND: (
        Told(
            f"{ROOM}::test_one_key_alone_may_fill_the_room",
            f"{ROOM}::test_one_key_alone_may_fill_the_room",
        ),
    ),
    metrics.HTTP_HELD_BYTES: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{BODIES}::test_bytes_beyond_the_budget_are_refused_by_their_length_and_as_they_arrive",
        ),
    ),
    metrics.HTTP_REFUSALS: (
        Told(
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
            f"{GATE}::test_a_request_that_is_admitted_is_no_refusal",
        ),
    ),
    metrics.HTTP_IMAGES: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
        ),
    ),
    metrics.HTTP_IMAGE_BYTES: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
        ),
    ),
    metrics.HTTP_IMAGE_OUTCOMES: (
        Told(
            f"{GATE}::test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key",
            f"{GATE}::test_requests_that_reach_no_route_share_one_label_and_count_no_images",
        ),
    ),
    metrics.KEY_RELOADS: (
        Told(
            f"{KEYS}::test_a_file_that_is_not_valid_changes_nothing_and_is_told_once",
            f"{KEYS}::test_a_key_that_is_added_works_and_one_that_is_revoked_does_not_after_a_look",
        ),
    ),
    metrics.KEYS_REFUSED: (
        Told(
            f"{KEYS}::test_a_file_that_is_not_valid_changes_nothing_and_is_told_once",
            f"{KEYS}::test_a_file_that_is_as_it_was_before_the_refusal_is_refused_no_longer",
        ),
    ),
    metrics.BACKFILL_ROWS: (
        Told(
            f"{TOLD_BY_WORKERS}::test_rows_count_once_their_shard_is_finished_by_outcome_and_code",
            f"{TOLD_BY_WORKERS}::test_a_trial_of_some_rows_counts_nothing",
        ),
    ),
    metrics.BACKFILL_FAILURES: (
        Told(
            f"{TOLD_BY_WORKERS}::test_rows_count_once_their_shard_is_finished_by_outcome_and_code",
            f"{TOLD_BY_WORKERS}::test_a_trial_of_some_rows_counts_nothing",
        ),
    ),
    metrics.BACKFILL_SHARD_SECONDS: (
        Told(
            f"{TOLD_BY_WORKERS}::test_rows_count_once_their_shard_is_finished_by_outcome_and_code",
            f"{TOLD_BY_WORKERS}::test_a_trial_of_some_rows_counts_nothing",
        ),
    ),
    metrics.BACKFILL_LAST_PROGRESS: (
        Told(
            f"{TOLD_BY_WORKERS}::test_rows_count_once_their_shard_is_finished_by_outcome_and_code",
            f"{TOLD_BY_WORKERS}::test_a_trial_of_some_rows_counts_nothing",
        ),
    ),
    metrics.BACKFILL_SHARDS: (
        Told(
            f"{JOB}::test_metrics_show_the_shards_by_state",
            f"{JOB}::test_metrics_show_the_shards_by_state",
        ),
    ),
    metrics.BACKFILL_SECONDS_LEFT: (
        Told(
            f"{JOB}::test_metrics_show_the_time_left_once_the_rate_is_known",
            f"{JOB}::test_metrics_show_the_time_left_once_the_rate_is_known",
        ),
    ),
    metrics.BACKFILL_GIVEN_BACK: (
        Told(
            f"{JOB}::test_metrics_show_the_places_that_the_stream_was_given",
            f"{JOB}::test_metrics_show_the_places_that_the_stream_was_given",
        ),
    ),
    **TOLD_OF_RULES,
}
