"""Defaults of a worker on its node."""

from __future__ import annotations

import pytest

from pipeline.adapters.clip.policy import ModelPolicy
from pipeline.adapters.s3.policy import S3Policy
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from workers.cluster.fitting import Fitted, fit, fitted
from workers.settings.loading import Settings


@pytest.mark.parametrize(
    ("cores", "workers", "device", "expected"),
    [
        # One worker on CPUs has all of them.
        (1, 1, "cpu", Fitted(processes=1, threads=1, max_size=32)),
        (2, 1, "cpu", Fitted(processes=2, threads=2, max_size=32)),
        (64, 1, "cpu", Fitted(processes=16, threads=64, max_size=32)),
        (64, 8, "cpu", Fitted(processes=8, threads=8, max_size=32)),
        (2, 4, "cpu", Fitted(processes=1, threads=1, max_size=32)),
        (128, 8, "cuda", Fitted(processes=16, threads=16, max_size=128)),
        (32, 8, "cuda", Fitted(processes=4, threads=4, max_size=128)),
        (16, 3, "cuda", Fitted(processes=5, threads=5, max_size=128)),
        (4, 8, "cuda", Fitted(processes=1, threads=1, max_size=128)),
    ],
)
def test_workers_of_a_node_share_its_cores(
    cores: int, workers: int, device: str, expected: Fitted
) -> None:
    assert fit(cores, workers, device) == expected


def settled(**sections: object) -> Settings:
    """As the driver gives it to a worker."""
    model = {"model": ModelPolicy(device="cuda")}
    return Settings.model_validate({"s3": S3Policy(allowed_buckets=("photos",))} | model | sections)


def test_what_is_set_stays_and_what_was_chosen_is_told() -> None:
    settings, told = fitted(settled(decode=DecodePolicy(processes=3)), 128, 8)
    assert (settings.decode.processes, settings.model.threads) == (3, 16)
    assert settings.batch.max_size == 128
    assert told == (
        "cuda; 128 cores for 8 workers at most: decode.processes 3 (set), model.threads 16, "
        "batch.max_size 128"
    )
    written = settled(
        model=ModelPolicy(device="cuda", threads=2),
        batch=BatchPolicy(max_size=7),
        decode=DecodePolicy(processes=3),
    )
    assert fitted(written, 128, 8)[0] == written
