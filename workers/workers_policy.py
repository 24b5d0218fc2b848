"""The settings of the workers together: how many, on what, and what happens when they fail."""

from __future__ import annotations

from pydantic import Field, field_validator

from pipeline.policy import Policy


class WorkersPolicy(Policy):
    """How many workers run, on what, and what happens when they fail."""

    count: int = Field(1, description="Stream workers that this driver runs.", gt=0)
    gpus_per_worker: float = Field(
        0.0,
        description="GPU share of a worker: 0 on CPU machines, a fraction to share one, else a "
        "whole number.",
        ge=0,
    )
    cpus_per_worker: float = Field(
        1.0, description="CPUs that Ray reserves for a worker and its decoders.", ge=0
    )
    grace_s: float = Field(
        30.0,
        description="Time to finish what is begun on SIGTERM; then it is abandoned and comes "
        "again. Keep the pod's termination grace period 20 s longer.",
        gt=0,
    )
    start_timeout_s: float = Field(
        600.0, description="A worker that has not joined by then is restarted.", gt=0
    )
    stall_timeout_s: float = Field(
        120.0,
        description="A worker that does not answer, whose Kafka thread makes no round, or whose "
        "model has one batch, for so long is killed and restarted; so is one whose commits fail "
        "for three times as long while the group answers it.",
        gt=0,
    )
    max_crashes: int = Field(
        5, description="Crashes within crash_window_s that stop the driver.", gt=0
    )
    crash_window_s: float = Field(300.0, description="Window in which crashes are counted.", gt=0)

    @field_validator("gpus_per_worker")
    @classmethod
    def _share_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(
                f"is {gpus:g}; write a fraction below 1 to share a GPU, or a whole number of them"
            )
        return gpus
