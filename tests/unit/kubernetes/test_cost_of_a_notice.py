"""What is written of a spot notice to one of two pods."""

from __future__ import annotations

import pytest

from tests.rigs.kubernetes.stream import cost_of_a_notice

PUBLISHED = {0: [0.0, 4.0, 30.0], 1: [0.0, 5.0, 9.0]}
"""Seconds by partition. Partition 0 waits for its pod from 4 to 30."""


def test_each_partition_has_its_longest_time_without_an_outcome() -> None:
    assert cost_of_a_notice("a notice", PUBLISHED, {1}, left=5.0, back=20.0) == {
        "partitions_of_the_other_pod": [1],
        "without_an_outcome_s": {0: 26.0, 1: 5.0},
    }


def test_a_partition_of_the_other_pod_may_not_wait_for_the_pod_that_left() -> None:
    with pytest.raises(AssertionError, match="partition 0 waited"):
        cost_of_a_notice("a notice", PUBLISHED, {0, 1}, left=5.0, back=20.0)
