"""What Ray is asked for, of what a cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.adapters.clip.policy import ModelPolicy
from pipeline.adapters.s3.policy import S3Policy
from workers.cluster.reservation import Reservation, Resources, Room, places, reserve, workers_on
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy

NO_GPU = Room(16)
EIGHT = Room(128, 8)
ONE = Room(16, 1)
INT8 = {"precision": "int8", "calibration": "/calibrated"}


def settings_of(model: dict[str, Any] | None = None, **workers: Any) -> Settings:
    return Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        model=ModelPolicy(**model or {}),
        workers=WorkersPolicy(**workers),
    )


@pytest.mark.parametrize(
    ("model", "asked", "resources", "gpus", "warns"),
    [
        ({}, "auto", Resources((NO_GPU, EIGHT)), 1, False),
        ({}, "auto", Resources((NO_GPU,), addable=(ONE,)), 1, False),
        ({}, "auto", Resources((NO_GPU,), addable=(NO_GPU,)), 0, True),
        ({}, "auto", Resources((NO_GPU,)), 0, True),
        # Said by the settings, whatever the cluster has.
        ({"device": "cpu"}, "auto", Resources((EIGHT,)), 0, False),
        (INT8, "auto", Resources((EIGHT,)), 0, False),
        ({"device": "cuda"}, "auto", Resources((NO_GPU,)), 1, False),
        ({}, 0.0, Resources((EIGHT,)), 0, False),
        ({}, 0.25, Resources((NO_GPU,)), 0.25, False),
        ({"device": "cuda"}, 0.5, Resources((NO_GPU,)), 0.5, False),
    ],
)
def test_auto_is_a_gpu_where_there_are_any_and_told_where_there_is_none(
    model: dict[str, Any], asked: Any, resources: Resources, gpus: float, warns: bool
) -> None:
    settings = settings_of(model, gpus_per_worker=asked)
    reservation = reserve(settings, resources)
    assert (reservation.gpus, bool(reservation.warning)) == (gpus, warns)
    told = reservation.resolve(settings)
    # Never a device that is not reserved, and never a CPU in place of one that is.
    assert told.model.device == ("cuda" if gpus else "cpu")
    assert told.workers.gpus_per_worker == gpus


@pytest.mark.parametrize(
    ("asked", "resources", "cpus"),
    [
        (0, Resources((EIGHT, NO_GPU)), 1),
        (1, Resources((EIGHT,)), 16),
        (1, Resources((EIGHT, Room(24, 4))), 6),
        (0.5, Resources((EIGHT,)), 8),
        (0.25, Resources((Room(2, 1),)), 0.5),
        (0.33, Resources((ONE,)), 5),
        # More than its decoders could use.
        (1, Resources((Room(64, 1),)), 16),
        # Nodes that no worker can come to decide nothing.
        (1, Resources((Room(0, 8), NO_GPU, ONE)), 16),
        (1, Resources((NO_GPU,), addable=(Room(12, 1),)), 12),
        # A worker must fit the nodes that come later, too.
        (1, Resources((ONE,), addable=(Room(8, 1),)), 8),
        (1, Resources((NO_GPU,)), 1),
    ],
)
def test_the_cpus_reserved_are_those_that_go_with_the_gpu(
    asked: float, resources: Resources, cpus: float
) -> None:
    assert reserve(settings_of(gpus_per_worker=asked), resources).cpus == cpus
    written = reserve(settings_of(gpus_per_worker=asked, cpus_per_worker=3), resources)
    assert written.cpus == 3


@pytest.mark.parametrize(
    ("here", "nodes", "most", "gpus", "cpus", "expected"),
    [
        # As many as the GPUs have room for, however many there are to be.
        (EIGHT, [EIGHT], 1, 1.0, 16.0, 8),
        (ONE, [ONE] * 4, 9, 1.0, 16.0, 1),
        (ONE, [ONE], 3, 0.33, 5.0, 3),
        (Room(16, 3), [Room(16, 3)], 3, 0.1, 1.0, 30),
        # On CPUs all that may run, spread over the nodes that can have one.
        (NO_GPU, [NO_GPU], 1, 0.0, 1.0, 1),
        (NO_GPU, [NO_GPU], 4, 0.0, 1.0, 4),
        (NO_GPU, [NO_GPU, Room(0), NO_GPU], 5, 0.0, 1.0, 3),
        (Room(2), [NO_GPU, Room(2)], 8, 0.0, 1.0, 2),
        (NO_GPU, [NO_GPU], 4, 0.0, 10.0, 1),
        (NO_GPU, [NO_GPU], 4, 0.0, 0.0, 4),
    ],
)
def test_workers_of_a_node_are_counted_by_what_it_has(
    here: Room, nodes: list[Room], most: int, gpus: float, cpus: float, expected: int
) -> None:
    assert workers_on(here, nodes, Reservation(gpus, cpus, "why"), most) == expected


@pytest.mark.parametrize(
    ("resources", "gpus", "cpus", "expected"),
    [
        (Resources((EIGHT, ONE)), 1.0, 16.0, 9),
        (Resources((EIGHT, ONE)), 1.0, 17.0, 7),
        (Resources((EIGHT, ONE)), 0.25, 1.0, 36),
        (Resources((NO_GPU, NO_GPU)), 0.0, 10.0, 2),
        (Resources((NO_GPU,)), 1.0, 1.0, 0),
        (Resources((NO_GPU,)), 0.0, 0.0, None),
        (Resources((NO_GPU,), addable=(ONE,)), 1.0, 1.0, None),
    ],
)
def test_places_are_counted_on_each_node_by_what_is_short(
    resources: Resources, gpus: float, cpus: float, expected: int | None
) -> None:
    assert places(resources, Reservation(gpus, cpus, "why")) == expected
