"""The path of an image, whatever its source."""

from __future__ import annotations

from pipeline.metrics.metric import SECONDS, SIZES, Kind, Metric, metric

STAGE_SECONDS = metric(
    Kind.HISTOGRAM,
    "stage_duration_seconds",
    "Seconds that one image spends in a stage: fetch (attempts and the waits between them), "
    "decode (including the wait for a free process), queue (before encode) and score. encode is "
    "measured per batch, and commit per successful transaction.",
    "The stage that grows is the bottleneck: the store for fetch, the CPU for decode, the device "
    "for queue and encode, the broker for commit.",
    ("stage",),
    SECONDS,
)
BATCH_SIZE = metric(
    Kind.HISTOGRAM,
    "batch_size",
    "Images per encoded batch.",
    "Small batches under load mean that the device waits for fetch or decode.",
    (),
    SIZES,
)
QUEUE_DEPTH = metric(
    Kind.GAUGE,
    "queue_depth",
    "Images waiting before a stage (fetch, decode, encode).",
    "The stage behind the full queue is the bottleneck.",
    ("stage",),
)
FETCHED_BYTES = metric(
    Kind.COUNTER,
    "fetched_bytes_total",
    "Bytes of objects that were read completely, each object once. Failed attempts and requests "
    "that test the store are not counted.",
    "Compare with the network's limit.",
)
DECODER_RESTARTS = metric(
    Kind.COUNTER,
    "decoder_restarts_total",
    "Decoder processes that were replaced after a crash, a timeout or excessive memory use.",
    "Single restarts are harmless. A steady rate means hostile input or limits that are too tight.",
)
MAX_BATCH = metric(
    Kind.GAUGE,
    "max_batch_images",
    "Largest batch in use: batch.max_size, or less after the device ran out of memory.",
    "If it is below batch.max_size, lower batch.max_size or give the worker a larger part of the "
    "device.",
)
MODEL_INFO = metric(
    Kind.GAUGE,
    "model_info",
    "Always 1. The labels name the model that this worker runs.",
    "Different revisions among workers mean an unfinished roll-out.",
    ("model", "revision", "precision", "engine", "version"),
)
LABEL_SET_INFO = metric(
    Kind.GAUGE,
    "label_set_info",
    "1 for each label set in force. The label version is the content hash that events carry.",
    "Workers differ in versions for longer than two label_sets.reload_interval_s: one of them "
    "cannot read or load the files. See clipstream_label_set_reloads_total.",
    ("label_set", "version"),
)
LABEL_SET_RELOADS = metric(
    Kind.COUNTER,
    "label_set_reloads_total",
    "Changes of label set files, by outcome (loaded, refused).",
    "refused: the changed files are not valid, and the earlier label sets stay in force. The log "
    "and `clipstream labels check` say what to fix.",
    ("outcome",),
)
LABEL_SETS_REFUSED = metric(
    Kind.GAUGE,
    "label_sets_refused",
    "1 while the changed label set files of this process are not valid and the earlier label sets "
    "stay in force, else 0.",
    "`clipstream labels check` names the line to mend. No restart is needed.",
)
LABEL_DECISIONS = metric(
    Kind.COUNTER,
    "label_decisions_total",
    "Images that were scored, by label set and decision. An image that is read again after a "
    "restart counts again. Labels that came with a request are not counted.",
    "A share that changes from one day to the next: the input has changed, or the label set "
    "(clipstream_label_set_info).",
    ("label_set", "decision"),
)
LABEL_MATCHES = metric(
    Kind.COUNTER,
    "label_matches_total",
    "Labels that matched an image, by label set and label: their score reached a threshold. Label "
    "sets of more than 200 labels count under the label `other`.",
    "As for clipstream_label_decisions_total.",
    ("label_set", "label"),
)

KNOWN_LIST_INFO = metric(
    Kind.GAUGE,
    "known_list_info",
    "1 for each list of known pictures in force. The label version is the content hash that events "
    "carry.",
    "Workers differ in versions for longer than two known.reload_interval_s: one of them cannot "
    "read or load the files. See clipstream_known_list_reloads_total.",
    ("known_list", "version"),
)
KNOWN_LIST_RELOADS = metric(
    Kind.COUNTER,
    "known_list_reloads_total",
    "Changes of the files of lists of known pictures, by outcome (loaded, refused).",
    "refused: the changed files are not valid, and the earlier lists stay in force. The log says "
    "what to fix.",
    ("outcome",),
)
KNOWN_LISTS_REFUSED = metric(
    Kind.GAUGE,
    "known_lists_refused",
    "1 while the changed files of lists of known pictures are not valid and the earlier lists stay "
    "in force, else 0.",
    "The worker's log names the file and the line to mend. No restart is needed.",
)
KNOWN_MATCHES = metric(
    Kind.COUNTER,
    "known_matches_total",
    "Images that a list of known pictures has, by list. An image that is read again after a "
    "restart counts again.",
    "A sudden rise: a known picture is uploaded again and again, or a new version of the list "
    "matches too much (clipstream_known_list_info).",
    ("known_list",),
)

IMAGE_METRICS: tuple[Metric, ...] = (
    STAGE_SECONDS,
    BATCH_SIZE,
    QUEUE_DEPTH,
    FETCHED_BYTES,
    DECODER_RESTARTS,
    MAX_BATCH,
    MODEL_INFO,
    LABEL_SET_INFO,
    LABEL_SET_RELOADS,
    LABEL_SETS_REFUSED,
    LABEL_DECISIONS,
    LABEL_MATCHES,
    KNOWN_LIST_INFO,
    KNOWN_LIST_RELOADS,
    KNOWN_LISTS_REFUSED,
    KNOWN_MATCHES,
)
"""Metrics of an image's path, whatever its source. The stream worker exposes these, and another
kind of worker would too."""
