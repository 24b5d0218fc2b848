"""Which threshold a goal gets."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.tuning import Aim, Goal, choose, cost


def test_the_recall_bound_is_the_exact_one() -> None:
    # Of 59 images, the lowest score bounds a recall of 0.95: 0.95 ** 59 = 0.0485. Of 58, none does.
    scores = np.linspace(0.1, 0.9, 59)
    truth = np.ones(59, np.bool_)
    threshold = choose(Goal(Aim.RECALL, 0.95), scores, truth)
    assert threshold is not None
    assert threshold <= scores[0]
    assert choose(Goal(Aim.RECALL, 0.95), scores[1:], truth[1:]) is None
    assert Goal(Aim.RECALL, 0.95).least_evidence == 59


def test_too_few_images_show_no_precision() -> None:
    scores = np.linspace(0.1, 0.9, 58)
    assert choose(Goal(Aim.PRECISION, 0.95), scores, np.ones(58, np.bool_)) is None
    assert choose(Goal(Aim.PRECISION, 0.95), np.array([]), np.array([], np.bool_)) is None


def test_images_of_equal_scores_match_together() -> None:
    scores = np.repeat([0.9, 0.5], 300)
    truth = np.repeat([True, False], 300)
    threshold = choose(Goal(Aim.PRECISION, 0.9), scores, truth)
    assert threshold is not None
    assert 0.5 < threshold <= 0.9
    # As many wrong ones among those of 0.9: no threshold tells them apart.
    assert choose(Goal(Aim.PRECISION, 0.9), np.full(600, 0.9), truth) is None


def test_every_image_right_is_a_threshold_below_all() -> None:
    scores = np.linspace(0.3, 0.9, 400)
    threshold = choose(Goal(Aim.PRECISION, 0.9), scores, np.ones(400, np.bool_))
    assert threshold is not None
    assert 0 < threshold <= 0.3


@pytest.mark.parametrize("miss", [0.2, 1, 5, 50])
def test_no_threshold_costs_less_than_the_cheapest(miss: float) -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(500) < 0.3
    scores = np.clip(rng.normal(0.4 + 0.2 * truth, 0.15), 0, 1).round(2).astype(np.float64)
    goal = Goal(Aim.COST, miss)
    chosen = cost(goal, scores, truth, choose(goal, scores, truth))
    others = [cost(goal, scores, truth, each) for each in np.linspace(0, 1.01, 500).tolist()]
    assert chosen == pytest.approx(min(others))


def test_never_to_match_can_be_the_cheapest() -> None:
    goal = Goal(Aim.COST, 0.1)
    scores, truth = np.array([0.9, 0.8, 0.7]), np.array([False, False, True])
    assert choose(goal, scores, truth) is None
    assert choose(goal, scores, np.zeros(3, np.bool_)) is None


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (Goal(Aim.PRECISION, 0.95), "precision of at least 0.95 with 95% confidence"),
        (Goal(Aim.COST, 20), "least cost, where a miss costs 20 false alarms"),
    ],
)
def test_a_goal_says_what_it_is(goal: Goal, says: str) -> None:
    assert str(goal) == says
