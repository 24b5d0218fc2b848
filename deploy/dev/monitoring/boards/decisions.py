"""Label decisions, for moderators and for authors of label sets."""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    RELEASE,
    Board,
    Panel,
    Query,
    Row,
    gauge,
    increase,
    rate,
)

SETS = f'{RELEASE},label_set=~"$label_set"'
OF_A_SET = rate("clipstream_label_decisions_total", SETS, "label_set")
MATCHES = rate("clipstream_label_matches_total", SETS, "label_set, label")
# The index of a group's workers together, of whichever release they are.
INDICES = 'clipstream:drift:psi{namespace=~"$namespace",label_set=~"$label_set"}'

DECISIONS = Board(
    "decisions",
    "Clipstream / Label decisions",
    "What label sets decide, in the stream, over HTTP and in backfills. Images that are scored "
    "again after a restart count again; consumers of the events have the exact numbers.",
    (
        Row(
            "Decisions",
            (
                Panel(
                    "Decisions",
                    "Images a second, by decision.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_label_decisions_total", SETS, "label_set, decision"),
                            "{{label_set}}: {{decision}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Share of each decision",
                    "A share that changes: the input has changed, or the label set.",
                    "percentunit",
                    (
                        Query(
                            rate("clipstream_label_decisions_total", SETS, "label_set, decision")
                            + f" / on (label_set) group_left () ({OF_A_SET} > 0)",
                            "{{label_set}}: {{decision}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Decisions of the last day",
                    "Images in 24 hours, by decision.",
                    "short",
                    (
                        Query(
                            increase(
                                "clipstream_label_decisions_total",
                                "24h",
                                SETS,
                                by="label_set, decision",
                            ),
                            "{{label_set}}: {{decision}}",
                        ),
                    ),
                    width=24,
                    figure=True,
                ),
            ),
        ),
        Row(
            "Labels",
            (
                Panel(
                    "Labels that matched",
                    "Images a second whose score for a label reached a threshold: the 20 most "
                    "frequent. other: label sets of more than 200 labels.",
                    "ops",
                    (Query(f"topk(20, {MATCHES})", "{{label_set}}: {{label}}"),),
                    width=16,
                ),
                Panel(
                    "Images without a decision",
                    "Dead letters of the stream: nobody looked at these images. The event has the "
                    "label set's unclassified_action.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_references_total", f'{RELEASE},outcome="dead_letter"'),
                            "dead letters",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Drift",
            (
                Panel(
                    "Scores against the reference",
                    "Population stability index of a label's scores, beyond chance: the 20 "
                    "largest. Up to 0.1 is little, and above 0.25 is much. Of groups, whatever "
                    "release is chosen.",
                    "short",
                    (
                        Query(
                            f"topk(20, max by (label_set, label) ({INDICES}))",
                            "{{label_set}}: {{label}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Decisions against the reference",
                    "Share of each decision in the last day, less its share in the reference.",
                    "percentunit",
                    (
                        Query(
                            increase(
                                "clipstream_label_decisions_total",
                                "24h",
                                SETS,
                                by="label_set, decision",
                            )
                            + " / on (label_set) group_left () "
                            + increase(
                                "clipstream_label_decisions_total", "24h", SETS, by="label_set"
                            )
                            + " - on (label_set, decision) "
                            + gauge(
                                "max",
                                "clipstream_drift_reference_decision_share",
                                SETS,
                                by="label_set, decision",
                            ),
                            "{{label_set}}: {{decision}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Embeddings against the reference",
                    "Distance of the mean embedding of a worker's last images from the "
                    "reference's, in units of the reference's spread: the worker farthest away.",
                    "short",
                    (
                        Query(
                            gauge(
                                "max",
                                "clipstream_drift_embeddings",
                                f'{SETS},measure="spreads"',
                                by="label_set",
                            ),
                            "{{label_set}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "References that do not fit",
                    "Workers whose label set is of another version or model than the reference, "
                    "or whose reference cannot be read. Nothing is compared there.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_drift_reference_unfit", SETS, by="label_set"),
                            "{{label_set}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Label sets",
            (
                Panel(
                    "Versions in force",
                    "Workers by version of a label set. Two versions for longer than a minute: "
                    "some workers decide by an older file.",
                    "short",
                    (
                        Query(
                            gauge(
                                "count", "clipstream_label_set_info", SETS, by="label_set, version"
                            ),
                            "{{label_set}} {{version}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Workers that have refused a change",
                    "The files were changed and are not valid. The label sets before are in force.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_label_sets_refused", RELEASE, by="driver"),
                            "{{driver}}",
                        ),
                    ),
                ),
                Panel(
                    "Changes",
                    "Changes of the files in the last hour, by what the workers did with them.",
                    "short",
                    (
                        Query(
                            increase(
                                "clipstream_label_set_reloads_total", "1h", RELEASE, by="outcome"
                            ),
                            "{{outcome}}",
                        ),
                    ),
                    width=4,
                ),
            ),
        ),
        Row(
            "Known pictures",
            (
                Panel(
                    "Matches",
                    "Images a second that a list of known pictures has, by list.",
                    "ops",
                    (
                        Query(
                            rate("clipstream_known_matches_total", RELEASE, by="known_list"),
                            "{{known_list}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Lists in force",
                    "Workers by version of a list. Two versions for longer than a minute: some "
                    "workers compare with an older file.",
                    "short",
                    (
                        Query(
                            gauge(
                                "count",
                                "clipstream_known_list_info",
                                RELEASE,
                                by="known_list, version",
                            ),
                            "{{known_list}} {{version}}",
                        ),
                    ),
                    width=6,
                ),
                Panel(
                    "Workers that have refused a change of lists",
                    "The files were changed and are not valid. The lists before are in force.",
                    "short",
                    (
                        Query(
                            gauge("sum", "clipstream_known_lists_refused", RELEASE, by="driver"),
                            "{{driver}}",
                        ),
                    ),
                    width=6,
                ),
                Panel(
                    "Changes of lists",
                    "Changes of the files in the last hour, by what the workers did with them.",
                    "short",
                    (
                        Query(
                            increase(
                                "clipstream_known_list_reloads_total", "1h", RELEASE, by="outcome"
                            ),
                            "{{outcome}}",
                        ),
                    ),
                    width=4,
                ),
            ),
        ),
    ),
)
