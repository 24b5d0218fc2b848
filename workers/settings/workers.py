"""The settings of the workers together: how many, on what, and what happens when they fail."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.policy import Policy, Tier


class WorkersPolicy(Policy):
    """How many workers run, on what, and what happens when they fail."""

    tier = Tier.TUNING

    count: Annotated[int, Tier.EVERYDAY] = Field(
        1,
        description="Stream workers that this driver runs. With max_count, this is the smallest "
        "number.",
        gt=0,
    )
    max_count: Annotated[int | None, Tier.EVERYDAY] = Field(
        None,
        description="Largest number of workers. The driver adds and removes workers between count "
        "and this number, depending on the backlog and the measured rate. null: always run count "
        "workers.",
        gt=0,
    )
    min_ready: int = Field(
        1,
        description="Workers that must be taking in work for the driver's /readyz to answer 200.",
        gt=0,
    )
    drain_target_s: float = Field(
        300.0,
        description="Used with max_count. The driver adds workers when all workers are busy and "
        "would need longer than this many seconds to work off the backlog and the records that "
        "arrive meanwhile.",
        ge=30,
    )
    scale_in_window_s: Annotated[float, Tier.EXPERT] = Field(
        300.0,
        description="Used with max_count. The driver removes workers when fewer would have been "
        "enough for this many seconds without a break.",
        gt=0,
    )
    gpus_per_worker: Annotated[Literal["auto"] | float, Tier.EVERYDAY] = Field(
        "auto",
        description="Part of a GPU that Ray reserves for each worker, from 0 to 1. 1: a GPU of "
        "its own. 0.5: two workers share a GPU. 0: the worker runs on CPUs and sees no GPU. "
        "`auto`: decided when the driver starts, 1 if the Ray cluster has GPUs or its autoscaler "
        "reports nodes with GPUs, otherwise 0. Workers wait while all GPUs are busy.",
    )
    cpus_per_worker: float | None = Field(
        None,
        description="CPUs that Ray reserves for each worker and its decoders. Default: 1 without "
        "a GPU. With a GPU: the worker's share of its node's GPUs, applied to the node's CPUs, at "
        "most 16.",
        ge=0,
    )
    grace_s: Annotated[float, Tier.EVERYDAY] = Field(
        30.0,
        description="Seconds that a worker has to finish its work after SIGTERM. Unfinished "
        "references are then abandoned and read again later. Set the pod's termination grace "
        "period at least 20 s longer.",
        gt=0,
    )
    start_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        600.0,
        description="Seconds within which a worker must join the group after its process began. A "
        "slower worker is restarted. The driver stops if no worker was in the group for this long "
        "while a place is empty because of a fault of its node.",
        gt=0,
    )
    stall_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        120.0,
        description="Seconds after which a stalled worker is killed and restarted. A worker is "
        "stalled if it does not answer, if its Kafka thread makes no round, or if its model works "
        "on one batch all this time. A worker that the group answers but whose commits fail is "
        "restarted after three times as long.",
        gt=0,
    )
    max_crashes: Annotated[int, Tier.EXPERT] = Field(
        5, description="Crashes within crash_window_s after which the driver stops.", gt=0
    )
    crash_window_s: Annotated[float, Tier.EXPERT] = Field(
        300.0, description="Seconds within which crashes are counted.", gt=0
    )

    @property
    def most(self) -> int:
        """Workers that may run at once."""
        return self.count if self.max_count is None else self.max_count

    @model_validator(mode="after")
    def _most_is_not_less(self) -> Self:
        if self.most < self.count:
            raise ValueError(
                f"max_count: is {self.most} and workers.count is {self.count}, the least; write "
                f"{self.count} or more, or leave it out to run always {self.count}"
            )
        return self

    @model_validator(mode="after")
    def _ready_is_possible(self) -> Self:
        if self.min_ready > self.count:
            raise ValueError(
                f"min_ready: is {self.min_ready} and workers.count is {self.count}, so that the "
                f"driver would never be ready; write {self.count} or less"
            )
        return self

    @field_validator("gpus_per_worker")
    @classmethod
    def _one_at_most(cls, gpus: Literal["auto"] | float) -> Literal["auto"] | float:
        if gpus == "auto" or 0 <= gpus <= 1:
            return gpus
        if gpus > 1:
            raise ValueError(
                f"is {gpus:g} and a worker uses one GPU; write 1, and more workers "
                "(workers.count) to use more GPUs"
            )
        raise ValueError(f"is {gpus:g}; write auto, or a number from 0 to 1")
