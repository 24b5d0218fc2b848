"""A row of a table of images, whatever file the table is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column. ``read`` reads an image that the table itself holds."""

    values: Mapping[str, Any]
    read: Callable[[], bytes] | None = None
