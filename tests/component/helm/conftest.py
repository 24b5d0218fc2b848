"""Helm itself: built when the first test asks for it."""

from __future__ import annotations

import contextlib

import pytest

from deploy.dev import go_programs
from deploy.dev.cluster import build
from deploy.dev.cluster.programs import HELM, program
from workers.embedded.processes import ServiceError


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build Helm: the first time takes longer than a test may."""
    if not session.config.option.collectonly:
        # What cannot be had is said by the fixture, to the tests that need it.
        with contextlib.suppress(ServiceError):
            program("helm")


@pytest.fixture(autouse=True)
def helm_is_there() -> None:
    """Skips where Helm is not there and cannot be built."""
    if not go_programs.available([HELM]):
        pytest.skip(f"{build.WHAT_IT_NEEDS}; install Go, then: make cluster-programs")
