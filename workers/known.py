"""Lists of known pictures from the settings. A change of their files takes effect without a
restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pipeline.adapters.known_files import fingerprint, load_known
from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.known.lists import KnownLists
from pipeline.ports import Meter
from workers.reloading import KNOWN_LISTS, LiveRules
from workers.settings.loading import Settings

InForce = Callable[[], KnownLists | None]
"""The lists in force; None if none is configured."""


def load_lists(settings: Settings) -> KnownLists:
    """The configured lists. Blocks for a second for each million entries.

    Raises:
        Halt: ``known.invalid``: a list is not valid, or no label set has its action.
    """
    lists = load_known(settings.known.lists)
    actions = _actions(settings)
    problems = [
        f"known list {each.name}: action: {each.action!r} is no action of a label set "
        f"({', '.join(actions)}); write one of them, or add it to a label set's `actions`"
        for each in lists.lists
        if actions and each.action not in actions
    ]
    if problems:
        raise Halt("known.invalid", "\n".join(problems))
    return lists


@contextmanager
def knowing(settings: Settings, meter: Meter) -> Iterator[InForce]:
    """The lists in force, for the time of the block.

    Raises:
        Halt: as ``load_lists``.
    """
    policy = settings.known
    if not policy.lists:
        yield lambda: None
        return
    live = LiveRules(
        partial(load_lists, settings), partial(fingerprint, policy.lists), meter, told=KNOWN_LISTS
    )
    if policy.reload_interval_s:
        live.watch(policy.reload_interval_s)
    try:
        yield live
    finally:
        live.close()


def _actions(settings: Settings) -> list[str]:
    """The actions of all label sets that count; none if their files cannot be read just now."""
    try:
        label_sets = load_label_sets(settings.label_sets.paths)
    except Halt:
        return []
    return list(
        dict.fromkeys(action for each in label_sets if not each.shadow for action in each.actions)
    )
