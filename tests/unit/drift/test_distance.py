"""The population stability index is what its formula says, and tells a shift from chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deploy.dev.monitoring.rules import defaults
from pipeline.drift.distance import ADDED, BINS, by_chance, counted, edges_of, excess, psi

BOUND = float(defaults()["drift_psi"])
LEAST = int(defaults()["drift_images"])


def scores(random: np.random.Generator, count: int, shift: float = 0.0) -> npt.NDArray[np.float64]:
    """Scores of a label that few images show: most near 0, as of CLIP."""
    logits = random.normal(-6.0 + shift, 3.0, count)
    return 1 / (1 + np.exp(-logits))


def test_it_is_what_a_hand_computes() -> None:
    # (600.5/1001 - 0.5) ln(1.1998002) + (400.5/1001 - 0.5) ln(0.8001998)
    assert psi([50, 50], [600, 400]) == pytest.approx(0.0999001 * (0.182155 + 0.222894), abs=1e-6)
    assert by_chance([50, 50], [600, 400]) == pytest.approx(1 / 100 + 1 / 1000)
    # As in monitoring/tests/workers.yaml.
    assert round(1e6 * excess([500] * 4, [300, 300, 600, 2400])) == 805352
    assert round(1e6 * excess([500] * 4, [900] * 4)) == -2333


@given(
    st.integers(2, BINS).flatmap(
        lambda bins: st.tuples(
            st.lists(st.integers(1, 5000), min_size=bins, max_size=bins),
            st.lists(st.integers(0, 5000), min_size=bins, max_size=bins).filter(any),
        )
    )
)
def test_it_is_the_sum_of_both_divergences_of_scipy(counts: tuple[list[int], list[int]]) -> None:
    reference, now = counts
    e, a = np.array(reference) / sum(reference), np.array(now) + ADDED
    expected = stats.entropy(a, e) + stats.entropy(e, a)
    assert psi(reference, now) == pytest.approx(expected, abs=1e-12)
    assert psi(reference, now) >= -1e-12


@given(st.lists(st.sampled_from([0.0, 1e-9, 0.2, 0.5, 1.0]) | st.floats(0, 1), min_size=1))
def test_no_bin_of_a_reference_is_empty_and_every_score_is_in_one(values: list[float]) -> None:
    found = np.array(values)
    edges = edges_of(found)
    counts = counted(found, edges)
    assert len(counts) == len(edges) + 1 <= BINS
    assert counts.sum() == len(values)
    assert counts.min() > 0


def test_bins_of_scores_that_differ_have_equally_many_images() -> None:
    found = scores(np.random.default_rng(1), 5000)
    assert counted(found, edges_of(found)).tolist() == [500] * BINS


@pytest.mark.parametrize("images", [LEAST, 10 * LEAST])
def test_chance_stays_far_below_the_alert_and_is_zero_on_average(images: int) -> None:
    """At the fewest images for which the alert speaks. 1,500 labels or days."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(1500):
        reference = scores(random, LEAST)
        edges = edges_of(reference)
        found.append(excess(counted(reference, edges), counted(scores(random, images), edges)))
    assert np.mean(found) == pytest.approx(0.0, abs=0.0015)
    # Chi-square with 9 degrees of freedom: what one of 10,000 exceeds.
    scale = 1 / LEAST + 1 / images
    bound = scale * (stats.chi2.isf(1e-4, BINS - 1) - (BINS - 1))
    assert max(found) < 1.3 * bound < BOUND / 3


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_shift_of_all_images_or_of_half_of_them_is_above_the_alert(share: float) -> None:
    random = np.random.default_rng(3)
    reference = scores(random, LEAST)
    edges = edges_of(reference)
    for _ in range(50):
        moved = int(share * LEAST)
        now = np.concatenate([scores(random, moved, 5.0), scores(random, LEAST - moved)])
        assert excess(counted(reference, edges), counted(now, edges)) > BOUND
