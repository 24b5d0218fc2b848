"""Has botocore read its descriptions of a service once, not once a session.

Each client of ours has a session of its own, as boto3 wants it. Reading takes a third of a second.
"""

from __future__ import annotations

import functools
from typing import Any

from botocore.loaders import JSONFileLoader

_read = JSONFileLoader.load_file


@functools.cache
def _read_once(path: str) -> Any:
    return _read(JSONFileLoader(), path)


def _load_file(_: JSONFileLoader, path: str) -> Any:
    return _read_once(path)


JSONFileLoader.load_file = _load_file  # type: ignore[assignment]
