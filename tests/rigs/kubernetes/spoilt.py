"""Values of a release that other values are made of: changed, and spoilt so that no pod works."""

from __future__ import annotations

import copy
from typing import Any

Values = dict[str, Any]


def changed(values: Values, section: str, **settings: Any) -> Values:
    """The values with other settings of a section."""
    copied = copy.deepcopy(values)
    copied["settings"].setdefault(section, {}).update(settings)
    return copied


def without_image(good: Values) -> Values:
    return {**good, "image": {**good["image"], "tag": "absent"}}


def without_calibration(good: Values) -> Values:
    return changed(good, "model", precision="int8")


def with_a_bad_label_set(good: Values) -> Values:
    """A bad label set alone restarts no pod, so a setting changes with it."""
    changed_too = changed(good, "batch", max_size=5)
    return {**changed_too, "labelSets": {"files": {"shapes": "name: shapes"}}}


SPOILT = (
    (without_image, "ErrImageNeverPull"),
    (without_calibration, "exit code 2"),
    (with_a_bad_label_set, "exit code 2"),
)
"""Ways to spoil values, each with the reason for which its containers do not run."""
