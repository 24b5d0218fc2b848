"""Settings of backfills."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.policy import Policy, Tier

CPU_SHARD_ROWS = 5_000
GPU_SHARD_ROWS = 100_000


class BackfillTopics(Policy):
    """Names of the topics of `clipstream backfill publish`."""

    tier = Tier.TUNING

    classifications: str = Field(
        "clipstream.backfill.classifications", description="One event per classified row."
    )
    embeddings: str = Field(
        "clipstream.backfill.embeddings", description="One embedding per classified row."
    )
    dead_letters: str = Field(
        "clipstream.backfill.dead-letters", description="Rows that failed, and why."
    )
    marks: str = Field(
        "clipstream.backfill.marks",
        description="Always empty. The offsets of a job's group on this topic say what of the job "
        "is published.",
    )


class BackfillPolicy(Policy):
    """How `clipstream backfill` cuts, runs and commits."""

    tier = Tier.TUNING

    shard_rows: Literal["auto"] | int = Field(
        "auto",
        description="Rows of a shard, the unit that is committed. A lost worker costs at most two "
        f"shards of work. `auto`: {CPU_SHARD_ROWS:,} for workers without a GPU, "
        f"{GPU_SHARD_ROWS:,} for workers with one. Choose the rows that a worker classifies in 60 "
        "to 120 seconds.",
    )
    listing_requests: Annotated[int, Tier.EXPERT] = Field(
        16,
        description="Requests that list a prefix at the same time. 1: one after the other, for "
        "stores that do not list their keys in order.",
        ge=1,
        le=256,
    )
    max_failed_share: float = Field(
        0.5,
        description="Largest share of the job's rows that may fail, and of each shard's. A shard "
        "above it is not committed, and the job halts, because something other than its images is "
        "wrong. The job also halts once more than this share of its committed rows failed. 100 "
        "failed rows never halt a job. 1: all rows may fail.",
        ge=0,
        le=1,
    )
    stuck_s: Annotated[float, Tier.EXPERT] = Field(
        600.0,
        description="Seconds after which the job halts if no worker has classified or refused a "
        "single row meanwhile, although workers run. Once the output has failed twice for the same "
        "shard, only a committed shard counts.",
        gt=0,
    )
    objects_per_s: float | None = Field(
        None,
        description="Most objects a second that all workers of the job read together. null: no "
        "limit. `clipstream backfill scale` changes it while the job runs.",
        gt=0,
    )
    bytes_per_s: float | None = Field(
        None,
        description="Most bytes a second that all workers of the job read together. null: no "
        "limit. `clipstream backfill scale` changes it while the job runs.",
        gt=0,
    )
    ramp_up_s: Annotated[float, Tier.EXPERT] = Field(
        0.0,
        description="Seconds in which the rate of a job grows to its full size. S3 splits its "
        "partitions under load, and refuses some requests until it has. Needs objects_per_s or "
        "bytes_per_s.",
        ge=0,
    )
    yield_above_lag: int | None = Field(
        None,
        description="Lag of `kafka.group` on `kafka.input_topics`, in records, above which the job "
        "gives places for workers back, so that the stream's workers find room on the same "
        "cluster. A worker that leaves has `workers.grace_s` to finish its shards. The job takes "
        "the places again once the lag has been below half of this number for 2 minutes. null: the "
        "job keeps its places.",
        gt=0,
    )
    embeddings: bool = Field(True, description="Write each image's embedding.")
    view_embeddings: bool = Field(
        True,
        description="With `decode.views: all` and `embeddings`: also write the embeddings of an "
        "image's further views, 2 KB each at 512 dimensions. Without them nobody can derive the "
        "scores of these views again, and `clipstream backfill rescore` refuses the job.",
    )
    topics: BackfillTopics = Field(
        default_factory=BackfillTopics,
        description="Topics of `clipstream backfill publish`. None of them may be a topic of the "
        "stream or of the server.",
    )
    store_schema: Annotated[bool, Tier.EXPERT] = Field(
        True,
        description="Keep Arrow's schema in the files, which tells readers that embeddings have a "
        "fixed size. ClickHouse cannot read such files; without the schema all readers see a list.",
    )
