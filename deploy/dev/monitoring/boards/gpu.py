"""GPUs and batches: is the device busy, and are its batches full?"""

from __future__ import annotations

from deploy.dev.monitoring.boards.board import (
    ALL,
    WORKER,
    WORKER_LEGEND,
    Board,
    Panel,
    Query,
    Row,
    gauge,
    mean,
    quantile,
    rate,
    stage_time,
)

GPU = Board(
    "gpu",
    "Clipstream / GPU and batching",
    "Is the device busy, and are its batches full? Also for models on CPUs.",
    (
        Row(
            "Device",
            (
                Panel(
                    "Time with a batch",
                    "Share of the time in which the model has a batch. Batches of a GPU overlap, "
                    "so up to 200 %. A low share is normal while the group keeps up.",
                    "percentunit",
                    (
                        Query(
                            rate(
                                "clipstream_stage_duration_seconds_sum",
                                f'{ALL},stage="encode"',
                                WORKER,
                            ),
                            WORKER_LEGEND,
                        ),
                    ),
                ),
                Panel(
                    "Images encoded",
                    "A second, by worker.",
                    "ops",
                    (Query(rate("clipstream_batch_size_sum", by=WORKER), WORKER_LEGEND),),
                ),
                Panel(
                    "Workers on a GPU",
                    "By model and precision. 0: every worker runs on CPUs.",
                    "short",
                    (
                        Query(
                            gauge(
                                "count",
                                "clipstream_model_info",
                                f'{ALL},engine=~"torch-cuda.*"',
                                by="model, precision, engine",
                            ),
                            "{{model}} {{precision}} {{engine}}",
                        ),
                    ),
                    device=True,
                ),
            ),
        ),
        Row(
            "Batches",
            (
                Panel(
                    "Images in a batch",
                    "Small batches under load: the device waits for fetch or decode.",
                    "short",
                    (
                        Query(mean("clipstream_batch_size"), "mean"),
                        Query(quantile(0.9, "clipstream_batch_size"), "90 %"),
                    ),
                ),
                Panel(
                    "Time of a batch",
                    "On the device, copies included.",
                    "s",
                    stage_time("encode"),
                ),
                Panel(
                    "Largest batch in use",
                    "Below batch.max_size the device ran out of memory once.",
                    "short",
                    (Query(gauge("min", "clipstream_max_batch_images", by=WORKER), WORKER_LEGEND),),
                ),
            ),
        ),
        Row(
            "Before the device",
            (
                Panel(
                    "Images before decode and encode",
                    "Full before decode and empty before encode: the cores are the limit, not "
                    "the GPU.",
                    "short",
                    (
                        Query(
                            gauge(
                                "sum",
                                "clipstream_queue_depth",
                                f'{ALL},stage=~"decode|encode"',
                                by="stage",
                            ),
                            "{{stage}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Wait before encode",
                    "From a decoded image to the start of its batch.",
                    "s",
                    stage_time("queue"),
                    width=12,
                ),
            ),
        ),
    ),
)
