"""Label sets that are pinned to a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet

logger = logging.getLogger(__name__)


def check_pins(
    label_sets: Sequence[LabelSet], model: str, revision: str, override: bool = False
) -> None:
    """Refuse label sets that are pinned to another model. With ``override``, only warn.

    Raises:
        Halt: ``label_set.pinned``.
    """
    mismatches = [
        f"{each.name!r} is tuned for {each.model.name} at revision {each.model.revision}"
        for each in label_sets
        if each.model is not None and (each.model.name, each.model.revision) != (model, revision)
    ]
    if not mismatches:
        return
    message = f"label set {', '.join(mismatches)}; loaded is {model} at revision {revision}"
    if not override:
        raise Halt(
            "label_set.pinned",
            f"{message}; thresholds do not carry over: load the pinned model, or measure them "
            "again and pin this one, or set label_sets.override_model_pin",
        )
    logger.warning("%s; overridden by label_sets.override_model_pin", message)
