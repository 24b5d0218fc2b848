"""Divides a sample into a part to choose on and a part to report on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.sample import Truth

Places = npt.NDArray[np.intp]


def split(
    truth: Truth, groups: npt.NDArray[np.intp], held_out: float, seed: int
) -> tuple[Places, Places]:
    """Places of the images to choose on, and of those held out, each in rising order.

    ``truth`` is [images, labels], ``held_out`` the share of the groups to hold out, above 0 and
    below 1. A group is never divided. Each label has about its share of groups in both parts: the
    groups are sorted by their rarest label, in random order within a label, and every so many-th
    is held out, from a random start.
    """
    rng = np.random.default_rng(seed)
    names, numbers = np.unique(groups, return_inverse=True)
    of_group = np.zeros((len(names), truth.shape[1]), np.bool_)
    np.logical_or.at(of_group, numbers, truth)
    # Groups with no label come last.
    rarity = np.where(of_group, of_group.sum(axis=0), len(names) + 1)
    rarest = np.where(of_group.any(axis=1), rarity.argmin(axis=1), truth.shape[1])
    order = np.lexsort((rng.random(len(names)), rarest))
    # A group is held out where the steps of ``held_out`` pass a whole number.
    steps = np.floor(rng.random() + held_out * np.arange(len(names) + 1))
    taken = np.zeros(len(names), np.bool_)
    taken[order] = np.diff(steps) > 0
    out = taken[numbers]
    return np.flatnonzero(~out), np.flatnonzero(out)


def one_of_each(groups: npt.NDArray[np.intp], places: Places, seed: int) -> Places:
    """One image of each group, drawn at random, in rising order.

    Images of one group are not independent evidence: ten copies of a picture say no more than one.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(places)
    _, first = np.unique(groups[shuffled], return_index=True)
    return np.sort(shuffled[first])
