"""A sample in two parts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.splitting import one_of_each, split


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=2, max_size=80),
    st.floats(0.1, 0.9),
)
def test_every_image_is_in_one_part_and_no_group_is_divided(
    seed: int, images: list[tuple[int, int]], held_out: float
) -> None:
    groups = np.array([group for group, _ in images])
    truth = np.eye(4, dtype=np.bool_)[[label for _, label in images]]
    on, out = split(truth, groups, held_out, seed)
    assert sorted([*on.tolist(), *out.tolist()]) == list(range(len(images)))
    assert not {*groups[on].tolist()} & {*groups[out].tolist()}


def test_each_label_has_its_share_in_both_parts() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((1_000, 3)) < (0.5, 0.1, 0.01)
    _, out = split(truth, np.arange(1_000), 0.4, seed=7)
    assert len(out) == 400
    for label in range(3):
        assert abs(truth[out, label].sum() - 0.4 * truth[:, label].sum()) < 15


def test_the_rarest_label_is_divided_as_evenly_as_it_can_be() -> None:
    truth = np.zeros((500, 2), np.bool_)
    truth[::2, 0] = True
    truth[:10, 1] = True
    for seed in range(20):
        _, out = split(truth, np.arange(500), 0.4, seed)
        assert truth[out, 1].sum() == 4


def test_another_seed_divides_anew_and_the_same_one_does_not() -> None:
    truth, groups = np.ones((50, 1), np.bool_), np.arange(50)
    parts = [split(truth, groups, 0.5, seed)[1].tolist() for seed in (1, 1, 2)]
    assert parts[0] == parts[1] != parts[2]


def test_one_image_of_each_group_counts() -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    chosen = one_of_each(groups, np.array([0, 1, 2, 4, 5]), seed=1)
    assert groups[chosen].tolist() == [0, 2]
