"""Lists of known pictures from the settings. A change of their files takes effect without a
restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pipeline.adapters.known_files import fingerprint, kinds, load_known
from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.known.lists import KnownLists
from pipeline.ports import Meter
from pipeline.records import ModelIdentity
from pipeline.records.known import KnownKind
from workers.label_sets import KNOWN_LISTS, LiveRules
from workers.settings.loading import Settings


@dataclass(frozen=True, slots=True)
class Known:
    """``lists`` returns those in force, or None if none is configured. ``pdq`` says whether images
    need their PDQ hash for it."""

    lists: Callable[[], KnownLists | None]
    pdq: bool = False


NOTHING_KNOWN = Known(lambda: None)


def load_lists(
    settings: Settings, model: ModelIdentity | None = None, *, pdq: bool = True
) -> KnownLists:
    """The configured lists. Blocks for seconds for each million entries. ``model`` is as for
    ``load_known``. ``pdq`` says whether images come with their PDQ hash.

    Raises:
        Halt: ``known.invalid``: a list is not valid, or no label set has its action.
    """
    lists = load_known(settings.known.lists, model)
    actions = _actions(settings)
    problems = [
        f"known list {each.name}: action: {each.action!r} is no action of a label set "
        f"({', '.join(actions)}); write one of them, or add it to a label set's `actions`"
        for each in lists.lists
        if actions and each.action not in actions
    ]
    hashed = [each.name for each in lists.lists if each.kind is KnownKind.PDQ]
    if hashed and not pdq:
        problems.append(
            f"known list {hashed[0]}: kind: is the first of kind pdq, and the decoders compute "
            "no PDQ hashes; restart the driver"
        )
    if problems:
        raise Halt("known.invalid", "\n".join(problems))
    return lists


@contextmanager
def knowing(settings: Settings, model: ModelIdentity, meter: Meter) -> Iterator[Known]:
    """The lists in force, for the time of the block.

    Raises:
        Halt: as ``load_lists``.
    """
    policy = settings.known
    if not policy.lists:
        yield NOTHING_KNOWN
        return
    pdq = KnownKind.PDQ in kinds(policy.lists)
    live = LiveRules(
        partial(load_lists, settings, model, pdq=pdq),
        partial(fingerprint, policy.lists),
        meter,
        told=KNOWN_LISTS,
    )
    if policy.reload_interval_s:
        live.watch(policy.reload_interval_s)
    try:
        yield Known(live, pdq)
    finally:
        live.close()


def _actions(settings: Settings) -> list[str]:
    """The actions of all label sets that count; none if their files cannot be read just now."""
    try:
        label_sets = load_label_sets(settings.label_sets.paths)
    except Halt:
        return []
    counting = [each for each in label_sets if not each.shadow]
    return list(dict.fromkeys(action for each in counting for action in each.actions))
