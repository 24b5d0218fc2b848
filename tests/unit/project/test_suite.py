"""`make test`: which group runs a test file, which groups run at once, and what is said of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from deploy.dev.suite import summary
from deploy.dev.suite.__main__ import main
from deploy.dev.suite.groups import GROUPS, ROOT, Group, owners
from deploy.dev.suite.running import Result, run
from tests.rigs.waiting import eventually
from workers.embedded.processes import ProcessIdentity


def python(name: str, program: str, *, alone: bool = False) -> Group:
    command = (sys.executable, "-I", "-c", textwrap.dedent(program))
    return Group(name, f"guards {name}", command=command, alone=alone)


def all_of(groups: Sequence[Group], folder: Path, jobs: int = 2) -> dict[str, Result]:
    return {result.group.name: result for result in run(groups, folder, jobs=jobs)}


# -- the table ------------------------------------------------------------------------------------


def test_every_test_file_belongs_to_exactly_one_group() -> None:
    astray = {file: names for file, names in owners().items() if len(names) != 1}
    assert astray == {}, "put the file into one group of deploy/dev/suite/groups.py"


def test_a_file_that_no_pattern_finds_belongs_to_no_group(tmp_path: Path) -> None:
    file = tmp_path / "tests" / "component" / "test_something_new.py"
    file.parent.mkdir(parents=True)
    file.touch()
    assert owners(tmp_path) == {"tests/component/test_something_new.py": []}


@pytest.mark.parametrize("group", [group for group in GROUPS if group.files], ids=lambda g: g.name)
def test_every_pattern_finds_a_file(group: Group) -> None:
    assert [pattern for pattern in group.files if not [*ROOT.glob(pattern)]] == []


@pytest.mark.parametrize("pattern", ["tests/fault/*", "tests/e2e/*"])
def test_what_judges_time_or_takes_all_processors_runs_alone(pattern: str) -> None:
    """Backfills and clusters of Ray wait for what they await, however long it takes."""
    alone = {group.name for group in GROUPS if group.alone}
    patient = {"backfill", "ray"}
    found = {file: {*names} for file, names in owners().items() if fnmatch(file, pattern)}
    assert any(names <= alone for names in found.values())
    assert [file for file, names in found.items() if not names <= alone | patient] == []


# -- which run at once ----------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not leave the kernel's idle class")
def test_the_background_gets_what_nobody_wants_until_no_group_runs_alone(tmp_path: Path) -> None:
    """Its processes, the children too, are of the kernel's idle class, and then of its usual."""
    diary, go_on = tmp_path / "diary", tmp_path / "go on"
    child = f"""
        import os, pathlib, time
        note = lambda: open({str(diary)!r}, "a").write(f"{{os.sched_getscheduler(0)}} ")
        note()
        pathlib.Path({str(go_on)!r}).touch()
        while os.sched_getscheduler(0) == os.SCHED_IDLE:
            time.sleep(0.01)
        note()
    """
    parent = f"""
        import os, subprocess, sys, time
        while os.sched_getscheduler(0) != os.SCHED_IDLE:
            time.sleep(0.01)
        subprocess.run([sys.executable, "-I", "-c", {textwrap.dedent(child)!r}], check=True)
    """
    wait = f"""
        import pathlib, time
        while not pathlib.Path({str(go_on)!r}).exists():
            time.sleep(0.01)
    """
    groups = [
        python("alone", wait, alone=True),
        python("last", ""),
        replace(python("sum", parent), computes=True),
    ]
    assert all(result.passed for result in all_of(groups, tmp_path).values())
    assert diary.read_text().split() == [str(os.SCHED_IDLE), str(os.SCHED_OTHER)]


def test_quiet_groups_run_at_the_same_time(tmp_path: Path) -> None:
    meet = """
        import pathlib, time
        pathlib.Path({mine!r}).touch()
        while not pathlib.Path({others!r}).exists():
            time.sleep(0.01)
    """
    files = [str(tmp_path / name) for name in ("first", "second")]
    groups = [
        python("first", meet.format(mine=files[0], others=files[1])),
        python("second", meet.format(mine=files[1], others=files[0])),
    ]
    assert all(result.passed for result in all_of(groups, tmp_path).values())


def test_nothing_runs_beside_a_group_that_runs_alone(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    note = f"""
        import time
        diary = open({str(diary)!r}, "a", buffering=1)
        diary.write("begin {{0}}\\n")
        time.sleep(0.1)
        diary.write("end {{0}}\\n")
    """
    groups = [
        python(name, note.format(name), alone=name == "alone")
        for name in ("before", "alone", "after", "last")
    ]
    all_of(groups, tmp_path, jobs=3)
    lines = diary.read_text().splitlines()
    assert len(lines) == 8
    assert lines[1:4] == ["end before", "begin alone", "end alone"]


# -- what is said ---------------------------------------------------------------------------------

TESTS = """
import pytest

def test_that_passes(): ...
def test_that_passes_too(): ...
def test_that_fails(): assert False
@pytest.fixture
def service(): raise OSError
def test_with_an_error(service): ...
@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail(): assert False
def test_that_is_skipped(): pytest.skip("no Go; install it")
"""


@pytest.fixture
def bare_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed plugins take seconds to load, and no test here needs one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


class FileOutside(Group):
    """A group whose ``files`` are arguments of pytest: its file is not in the project."""

    def test_files(self, root: Path = ROOT) -> list[str]:
        return [*self.files]


@pytest.fixture
def tests_of(tmp_path: Path, bare_pytest: None) -> Callable[..., Group]:
    """A group of one file with this text."""

    def make(name: str, text: str, *, searching: bool = False) -> Group:
        file = tmp_path / f"test_{name}.py"
        file.write_text(text)
        where = f"--rootdir={tmp_path}", f"--confcutdir={tmp_path}", "-c", "/dev/null", "-ra"
        return FileOutside(name, f"guards {name}", files=(str(file), *where), searching=searching)

    return make


@pytest.fixture
def tested(tests_of: Callable[..., Group], tmp_path: Path) -> Callable[[str], Result]:
    """Runs a text as a file of tests, in pytest's own process."""

    def run_tests(text: str) -> Result:
        (result,) = run([tests_of("sample", text)], tmp_path)
        return result

    return run_tests


def test_tests_are_counted_as_pytest_counts_them(tested: Callable[[str], Result]) -> None:
    result = tested(TESTS)
    counts = {"failed": 1, "passed": 2, "skipped": 1, "xfailed": 1, "error": 1}
    assert (result.status, result.counts) == (1, counts)
    assert summary.table([result]).splitlines()[1].split()[:4] == ["sample", "3", "2", "1"]


def test_a_skipped_test_of_a_group_that_passed_is_told_with_its_reason(
    tested: Callable[[str], Result],
) -> None:
    result = tested("import pytest\ndef test_it(): pytest.skip('no Go; install it')\n")
    (told,) = summary.skips([result])
    assert told.startswith("sample: SKIPPED")
    assert told.endswith("no Go; install it")


def test_processor_time_includes_that_of_grandchildren(tmp_path: Path) -> None:
    program = """
        import subprocess, sys
        spin = "import time\\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", spin], check=True)
    """
    assert all_of([python("busy", program)], tmp_path)["busy"].cpu_s >= 0.3


def test_the_output_of_a_group_that_failed_is_shown_whole_and_no_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    groups = [
        python("good", "print('nobody wants to know')"),
        python("bad", "print('first line'); print('last line'); raise SystemExit(3)"),
    ]
    assert main([], groups) == 1
    said = capfd.readouterr().out
    assert "first line\nlast line\n" in said
    assert "nobody wants to know" not in said
    assert said.index("last line") > said.index("good       passed")
    assert "guards good" in said
    assert "2 of 2 groups ran" in said
    assert said.endswith("failed: bad\n")


def test_groups_are_run_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    groups = [python("good", ""), python("bad", "raise SystemExit(3)")]
    assert main(["good"], groups) == 0
    assert capfd.readouterr().out.endswith("failed: none\n")
    with pytest.raises(SystemExit) as refused:
        main(["god"], groups)
    assert refused.value.code == 2
    assert "no group is called god; there are good, bad" in capfd.readouterr().err


# -- the second run -------------------------------------------------------------------------------

UNSTEADY = """
import pathlib
here = pathlib.Path(__file__).parent

def test_that_passes():
    (here / "passed").open("a").write("once ")

def test_that_fails_the_first_time():
    first = not (here / "seen").exists()
    (here / "seen").touch()
    assert not first, "too late"
"""
BROKEN = "def test_that_always_fails(): assert False, 'wrong'\n"
SKIPPED = UNSTEADY + "    __import__('pytest').skip('the node did not start')\n"
DISTURBED = (
    UNSTEADY.replace("assert not first", "return; assert not first")
    + """
import pytest

@pytest.fixture(scope="module", autouse=True)
def service():
    fresh = not (here / "seen").exists()
    yield
    assert not fresh, "something is left behind"
"""
)
MANY = "".join(
    UNSTEADY.replace("first_time", f"time_{n}").replace("seen", f"{n}") for n in range(4)
)


def test_failed_tests_that_pass_by_themselves_make_their_group_unsteady(
    tests_of: Callable[..., Group], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([], [tests_of("moody", UNSTEADY), python("good", "")]) == 0
    said = capfd.readouterr().out
    assert "too late" in said
    assert said.endswith("failed: none; unsteady, passed in a second run: moody\n")
    assert (tmp_path / "passed").read_text() == "once "


def test_a_test_that_fails_twice_has_failed(
    tests_of: Callable[..., Group], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([], [tests_of("moody", UNSTEADY), tests_of("broken", BROKEN)]) == 1
    said = capfd.readouterr().out
    assert said.endswith("failed: broken; unsteady, passed in a second run: moody\n")


def test_a_test_that_is_skipped_the_second_time_has_failed(
    tests_of: Callable[..., Group], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([], [tests_of("gone", SKIPPED)]) == 1
    said = capfd.readouterr().out
    assert "gone-2: SKIPPED" in said
    assert said.endswith("failed: gone\n")


@pytest.mark.parametrize(
    ("text", "searching"),
    [(MANY, False), ("import nothing_of_that_name\n", False), (DISTURBED, False), (UNSTEADY, True)],
    ids=["many", "unreadable", "fixture", "searching"],
)
def test_no_second_run_makes_good_what_is_no_chance(
    text: str,
    searching: bool,
    tests_of: Callable[..., Group],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([], [tests_of("bad", text, searching=searching)]) == 1
    said = capfd.readouterr().out
    assert "bad-2" not in said
    assert said.endswith("failed: bad\n")


# -- the end --------------------------------------------------------------------------------------


def test_what_a_group_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    program = """
        import subprocess
        print(subprocess.Popen(["sleep", "1000"]).pid)
    """
    left = int(all_of([python("careless", program)], tmp_path)["careless"].output)
    eventually(lambda: ProcessIdentity.of(left) is None)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("stubborn", [False, True], ids=["", "stubborn"])
def test_a_runner_that_is_told_to_end_ends_its_groups(
    sent: signal.Signals, status: int, stubborn: bool, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    group = f"""
import os, pathlib, signal, time
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
if {stubborn}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path({str(file) + ".new"!r}).write_text(str(os.getpid()))
pathlib.Path({str(file) + ".new"!r}).rename({str(file)!r})
time.sleep(1000)
"""
    runner = f"""
import signal, sys
from deploy.dev.suite import running
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background job of a shell
from deploy.dev.suite.__main__ import main
from deploy.dev.suite.groups import Group
running.GRACE_S = 0.5
sys.exit(main([], [Group("sleeper", "nothing", command=(sys.executable, "-c", {group!r}))]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", runner], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        eventually(file.exists)
        child = ProcessIdentity.of(int(file.read_text()))
        assert child is not None
        process.send_signal(sent)
        said, _ = process.communicate()
    assert process.returncode == status
    assert b"0 of 1 groups ran" in said
    assert said.endswith(b"not finished: sleeper\n")
    eventually(lambda: not child.running)
