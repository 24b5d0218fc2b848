"""Which label sets score the images of a request: those in force, by name, or one of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import JsonValue
from workers.label_sets import ScoringRules
from workers.serve.caller import Caller
from workers.serve.errors import ApiError

OWN_NAME = "labels"
"""Name of a label set that comes with a request."""

SHOWN = 64
"""Characters of a name that a message repeats: as many as a label set's name may have."""

TEMPLATE = "a photo of a {}"
"""What CLIP was evaluated with, by its authors."""

ACTIONS = ("act", "review", "none")
"""Actions of a request's own label set, most severe first."""

_OWN: Mapping[str, JsonValue] = {
    "name": OWN_NAME,
    "actions": list(ACTIONS),
    "act_action": "act",
    "review_action": "review",
    "default_action": "none",
    "decision": "exclusive",
    "templates": [TEMPLATE],
}


def own_label_set(
    labels: Sequence[JsonValue], given: Mapping[str, JsonValue] | None = None
) -> dict[str, JsonValue]:
    """The label set of a request, as its file would be (docs/label-sets.md), for
    ``Prompts.compiled``.

    A label is its name alone, or the keys that a file's label has. ``given`` are further keys of
    the set, which come before the defaults.
    """
    written: list[JsonValue] = [{"name": it} if isinstance(it, str) else it for it in labels]
    return {**_OWN, **(given or {}), "labels": written}


def named_label_sets(
    names: Sequence[str],
    rules: ScoringRules,
    caller: Caller,
    default: str | None,
    param: str = "label_sets",
) -> tuple[CompiledLabelSet, ...]:
    """Label sets in force, in the order of ``names``, each once. Without names: the label set
    ``default``, and without that the first one by name that the caller may use and that is no
    shadow set.

    Raises:
        ApiError: 403 ``label_set_not_allowed``; 404 ``unknown_label_set``. The message lists those
            that the caller may use.
    """
    in_force = {each.label_set.name: each for each in rules.scoring}
    allowed = sorted(name for name in in_force if caller.may_use(name))
    if not names:
        acting = [name for name in allowed if not in_force[name].label_set.shadow]
        names = acting[:1] if default is None else (default,)
    if not names:
        raise ApiError(403, "label_set_not_allowed", "this key may use no label set", param=param)
    for name in names:
        if name in allowed:
            continue
        if caller.may_use(name):
            status, code, why = 404, "unknown_label_set", "is not loaded"
        else:
            status, code, why = 403, "label_set_not_allowed", "is not for this key"
        listed = ", ".join(allowed) or "none"
        raise ApiError(
            status, code, f"label set {name[:SHOWN]!r} {why}; use one of: {listed}", param=param
        )
    return tuple(in_force[name] for name in dict.fromkeys(names))
