"""A short soak: what `make soak` measures over a million references, over a few thousand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.dev import versitygw
from pipeline.fetch import FetchPolicy
from tests.fault import soak
from tests.fault.soak_plot import draw

pytestmark = pytest.mark.component

REFERENCES = 2_000
OUTAGE_S = 3.0
MOST_MORE_MIB = 64
OTHERS = 64
"""Threads and descriptors besides those of the open objects: Kafka's, the decoder's, the loops'."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> soak.Result:
    if not versitygw.available():
        pytest.skip(f"{versitygw.WHAT_IT_NEEDS}; install Go, then: python deploy/dev/versitygw.py")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "")  # restored afterwards
        return soak.run(tmp_path_factory.mktemp("soak"), REFERENCES, OUTAGE_S)


def test_each_reference_is_classified_once_in_spite_of_the_outage(result: soak.Result) -> None:
    assert result.references == 2 * REFERENCES
    assert (result.lost, result.duplicated, result.dead_letters) == (0, 0, 0)


def test_threads_and_file_descriptors_are_bounded(result: soak.Result) -> None:
    # A connection that is opened takes a descriptor, and a thread to look its name up.
    for most in (result.threads[1], result.descriptors[1]):
        assert most <= FetchPolicy().max_open_objects + OTHERS


def test_memory_is_bounded(result: soak.Result) -> None:
    """Coarse: so short a run ends before every buffer has been used."""
    most = max(each.memory_mib for each in result.samples)
    assert most - result.memory_mib <= MOST_MORE_MIB


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"lost": 1}, "1 lost"),
        ({"growth": 0.051}, "growth of 5.1%, more than 5%"),
        ({"outage_growth": 0.3}, "outage_growth of 30.0%, more than 5%"),
        ({"descriptors": (50, 51 + soak.MORE_HELD)}, "descriptors, 50 at first"),
        ({"threads": (20, 21 + soak.MORE_HELD)}, "threads, 20 at first"),
    ],
)
def test_a_soak_fails_where_something_grows(changed: dict[str, Any], fault: str) -> None:
    sound = soak.Result(
        references=10,
        lost=0,
        duplicated=0,
        dead_letters=0,
        outage_s=1.0,
        seconds=1.0,
        references_per_second=1.0,
        memory_mib=100.0,
        growth=0.05,
        outage_growth=-0.1,
        decoders_growth=0.5,
        descriptors=(50, 60),
        threads=(20, 30),
        samples=[],
    )
    assert sound.faults() == []
    (found,) = replace(sound, **changed).faults()
    assert found.endswith(fault)


def test_nothing_is_committed_while_the_store_is_away(result: soak.Result) -> None:
    during = [each.committed for each in result.samples if each.outage]
    assert len(during) >= OUTAGE_S / soak.SAMPLE_S
    assert during[-1] < result.references


def test_the_samples_make_a_picture(result: soak.Result, tmp_path: Path) -> None:
    draw(result.samples, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
