"""What the tests of alerts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.alerts.record import Record, may_write


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """Of the template that the module's name says: ``test_stream_alerts.py`` is of ``stream``."""
    name = Path(request.node.path).stem.removeprefix("test_").removesuffix("_alerts")
    seen = Record(name)
    yield seen
    if may_write():
        seen.save()
