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
        description="Stream workers that this driver runs; with max_count, the least of them.",
        gt=0,
    )
    max_count: Annotated[int | None, Tier.EVERYDAY] = Field(
        None,
        description="Most workers: the driver adds and removes them between count and this, as the "
        "backlog and the measured rate ask. null: always count.",
        gt=0,
    )
    min_ready: int = Field(
        1,
        description="Workers that must take in work for the driver's /readyz to answer 200.",
        gt=0,
    )
    drain_target_s: float = Field(
        300.0,
        description="With max_count: workers are added while those that run, all of them busy, "
        "would need longer to work the backlog off, beside what arrives.",
        ge=30,
    )
    scale_in_window_s: Annotated[float, Tier.EXPERT] = Field(
        300.0,
        description="With max_count: workers are removed when fewer would have been enough all the "
        "time for so long.",
        gt=0,
    )
    gpus_per_worker: Annotated[Literal["auto"] | float, Tier.EVERYDAY] = Field(
        "auto",
        description="Part of a GPU that Ray reserves for a worker, from 0 to 1: 1 is a GPU of its "
        "own, 0.5 is shared by two workers, with 0 a worker runs on CPUs and sees no GPU. `auto` "
        "is decided when the driver starts: 1 where the Ray cluster has GPUs or its autoscaler "
        "reports nodes with some, else 0. Workers wait while all GPUs are busy.",
    )
    cpus_per_worker: float | None = Field(
        None,
        description="CPUs that Ray reserves for a worker and its decoders. Default: 1 without a "
        "GPU, else the part of its node's CPUs that goes with its part of the GPUs, 16 at most.",
        ge=0,
    )
    grace_s: Annotated[float, Tier.EVERYDAY] = Field(
        30.0,
        description="Time to finish what is begun on SIGTERM; then it is abandoned and comes "
        "again. Keep the pod's termination grace period 20 s longer.",
        gt=0,
    )
    start_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        600.0,
        description="Time within which a worker must join after its process began; else it is "
        "restarted. When no worker was in the group for this time, and a place is empty by a fault "
        "of its node, the driver stops.",
        gt=0,
    )
    stall_timeout_s: Annotated[float, Tier.EXPERT] = Field(
        120.0,
        description="A worker that does not answer, whose Kafka thread makes no round, or whose "
        "model has one batch, for so long is killed and restarted; so is one whose commits fail "
        "for three times as long while the group answers it.",
        gt=0,
    )
    max_crashes: Annotated[int, Tier.EXPERT] = Field(
        5, description="Crashes within crash_window_s that stop the driver.", gt=0
    )
    crash_window_s: Annotated[float, Tier.EXPERT] = Field(
        300.0, description="Window in which crashes are counted.", gt=0
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
