"""In CI a test that is skipped has failed: what is not tried there is tried nowhere."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from deploy.dev.cluster.node import probe

NO_KUBELET = "no kubelet can run here: "
"""How the reason begins for which a test of the mark ``kubelet`` is skipped."""

ON_DEMAND = "on_demand"
"""Marker of tests that take too long for every run. A person asks for them, and their last result
is committed."""

ASKED = "CLIPSTREAM_TEST_ON_DEMAND"
"""The environment variable that has such tests run: ``yes``."""

NODE = "CLIPSTREAM_TEST_NODE"
"""The environment variable that lets a kubelet run outside CI: ``yes``."""

MAY_BE_SKIPPED = {
    "gpu": "",
    "kubelet": f"{NO_KUBELET}{probe.KERNEL}",
    ON_DEMAND: "",
}
"""Markers of tests that need what no package can bring, or too much time; and how the reason must
begin. A kernel that refuses a kubelet is one; a package that is missing, or a node that does not
start, is none."""


def asked() -> bool:
    """Whether a person wants tests that run on demand."""
    return os.environ.get(ASKED) == "yes"


def may_start_a_node() -> bool:
    """Whether a kubelet may run here: it makes a bridge, mounts and control groups. CI may, and a
    person who asks for it; `make test` alone may not, whoever types it."""
    return os.environ.get("CI") == "true" or os.environ.get(NODE) == "yes"


def skip_without_a_node() -> None:
    """Skip the test unless a node may start, and can."""
    if not may_start_a_node():
        pytest.skip("a real node changes the machine while it runs; type: make cluster-tests")
    if refusal := probe.refusal():
        pytest.skip(f"{NO_KUBELET}{refusal}")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip what nobody has asked for, before anything is built or started for it. The marker's
    argument is the command that runs it."""
    if asked():
        return
    for item in items:
        if marker := item.get_closest_marker(ON_DEMAND):
            item.add_marker(pytest.mark.skip(f"on demand; type: {marker.args[0]}"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``CI=true`` only tests that need a device or a kernel that CI may lack, and those that a
    person asks for, can be skipped; an expected failure is no skip."""
    report = yield
    if _counts_as_failed(report) and not any(
        item.get_closest_marker(marker) and _reason(report).startswith(f"Skipped: {begins}")
        for marker, begins in MAY_BE_SKIPPED.items()
    ):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole says nothing of markers: it fails."""
    report = yield
    if _counts_as_failed(report):
        _fail(report)
    return report


def _counts_as_failed(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    skipped: Any = report.longrepr
    return str(skipped[2] if isinstance(skipped, tuple) else skipped)


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = _reason(report)
    report.outcome = "failed"
    report.longrepr = (
        f"{reason}\nCI=true: nothing is skipped here but tests marked "
        f"{' or '.join(MAY_BE_SKIPPED)}; provide what it needs"
    )
