"""Which label set a request means, and whether its key may use it."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.labels.scoring import CompiledLabelSet
from workers.serve.caller import Caller
from workers.serve.errors import ApiError


def chosen(
    loaded: Iterable[CompiledLabelSet], named: str | None, default: str | None, caller: Caller
) -> CompiledLabelSet:
    """The label set ``named``, else the ``default`` of the settings, else the first by name that
    the caller may use.

    Raises:
        ApiError: 403: the caller may not use it; 404: none of this name is loaded.
    """
    by_name = {each.label_set.name: each for each in loaded}
    usable = sorted(filter(caller.may_use, by_name))
    name = named or default or (usable[0] if usable else "")
    if not usable or not caller.may_use(name):
        raise ApiError(
            403,
            "label_set_not_allowed",
            f"the key {caller.name!r} may not use the label set {name!r}; ask for a key that may",
            param="model",
        )
    if name not in by_name:
        raise ApiError(
            404,
            "model_not_found",
            f"no label set {name!r}; write one of {', '.join(usable)}",
            param="model",
        )
    return by_name[name]
