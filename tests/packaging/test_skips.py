"""With CI=true a skip is a failure that names its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigs.root import ROOT
from tests.rigs.skips import ASKED, NODE, may_start_a_node, skip_without_a_node

TESTS = """
import pytest

@pytest.fixture
def service():
    pytest.skip("no Go; install it")

def test_by_a_fixture(service): ...

@pytest.mark.skipif(True, reason="not on this machine")
def test_by_a_marker(): ...

def test_within():
    pytest.skip("half way")

@pytest.mark.gpu
def test_that_needs_a_gpu():
    pytest.skip("no CUDA device")

@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail():
    assert False

def test_that_passes(): ...
"""
ON_DEMAND = """
import pytest

@pytest.fixture
def dear():
    import os
    assert os.environ["CLIPSTREAM_TEST_ON_DEMAND"] == "yes", "begun for nobody"

@pytest.mark.on_demand("make all-of-it")
def test_that_takes_long(dear): ...
"""
KUBELET = """
import pytest

@pytest.mark.kubelet
@pytest.mark.parametrize("reason", [
    "no kubelet can run here: the kernel refuses bridges: Operation not permitted",
    "no kubelet can run here: a real node needs Debian's packages; type: apt-get install runc",
    "no kubelet can run here: the node does not work here: no pod in 120 s",
    "no kubelet; install Go",
])
def test_of_a_node(reason):
    pytest.skip(reason)
"""
MODULE = "import pytest\npytest.importorskip('no_such_module_anywhere')\n"


def run(folder: Path, ci: str | None, text: str) -> str:
    """The last lines of a run of the file's tests with the plugin that our own have."""
    (folder / "test_sample.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    gpu: a device\n    kubelet: a node\n    on_demand: long\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.rigs.skips",
            "-p",
            "no:cacheprovider",
            "-rsfE",
        ],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)} | ({} if ci is None else {"CI": ci}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("ci", [None, "false"])
def test_at_home_tests_may_be_skipped(ci: str | None, tmp_path: Path) -> None:
    assert "1 passed, 4 skipped, 1 xfailed" in run(tmp_path, ci, TESTS)


def test_in_ci_only_what_needs_a_gpu_may_be_skipped(tmp_path: Path) -> None:
    said = run(tmp_path, "true", TESTS)
    # A failure before the test itself is an error, in pytest's words.
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in said
    for reason in ("no Go; install it", "not on this machine", "half way"):
        assert f"Skipped: {reason}\nCI=true: nothing is skipped here" in said


def test_in_ci_only_a_kernel_that_refuses_a_kubelet_excuses_its_tests(tmp_path: Path) -> None:
    assert "4 skipped" in run(tmp_path, None, KUBELET)
    said = run(tmp_path, "true", KUBELET)
    assert "3 failed, 1 skipped" in said
    (skipped,) = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    assert "the kernel refuses bridges" in skipped
    for reason in ("apt-get install runc", "no pod in 120 s", "install Go"):
        assert f"{reason}\nCI=true: nothing is skipped here" in said


@pytest.mark.parametrize(("asked", "says"), [(None, "1 skipped"), ("yes", "1 passed")])
def test_what_takes_too_long_runs_when_somebody_asks_for_it(
    asked: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ASKED, raising=False)
    if asked is not None:
        monkeypatch.setenv(ASKED, asked)
    said = run(tmp_path, "true", ON_DEMAND)
    assert says in said
    assert ("on demand; type: make all-of-it" in said) == (asked is None)


def test_in_ci_a_module_may_not_skip_itself(tmp_path: Path) -> None:
    assert "1 skipped" in run(tmp_path, None, MODULE)
    said = run(tmp_path, "true", MODULE)
    assert "1 error" in said
    assert "no_such_module_anywhere" in said


def test_our_own_tests_have_the_rule() -> None:
    from tests import conftest
    from tests.rigs import skips

    assert conftest.pytest_runtest_makereport is skips.pytest_runtest_makereport
    assert conftest.pytest_make_collect_report is skips.pytest_make_collect_report
    assert conftest.pytest_collection_modifyitems is skips.pytest_collection_modifyitems


@pytest.mark.parametrize(
    ("given", "may"),
    [({}, False), ({"CI": "1"}, False), ({"CI": "true"}, True), ({NODE: "yes"}, True)],
)
def test_a_node_starts_in_ci_or_for_a_person_who_asks_and_never_by_make_test_alone(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], may: bool
) -> None:
    for name in ("CI", NODE):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert may_start_a_node() is may
    if not may:
        with pytest.raises(pytest.skip.Exception, match="make cluster-tests"):
            skip_without_a_node()
