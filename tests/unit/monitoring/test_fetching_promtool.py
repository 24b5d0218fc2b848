"""Where promtool comes from: PATH, the user's cache, or Debian's package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.dev.monitoring import promtool
from workers.embedded.processes import ServiceError


def executable(file: Path, text: str = "#!/bin/sh\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and nothing on PATH but the shell's own tools."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_promtool_on_the_path_is_taken(machine: Path) -> None:
    mine = executable(machine / "bin/promtool")
    assert promtool.available()
    assert promtool.program("promtool") == mine


def test_debians_package_is_unpacked_once_into_the_cache(machine: Path) -> None:
    """The tools are stand-ins, which leave what the real ones leave."""
    count = machine / "downloads"
    executable(
        machine / "bin/apt-get",
        f"#!/bin/sh\n: > prometheus_2.42.deb\necho x >> {count}\n",
    )
    executable(
        machine / "bin/dpkg-deb",
        "#!/bin/sh\n"
        f"PATH={os.defpath}\nmkdir -p files/usr/bin\n"
        "for each in prometheus promtool; do : > files/usr/bin/$each; done\n",
    )
    assert promtool.available()
    for name in promtool.PROGRAMS:
        found = promtool.program(name)
        assert found.is_file()
        assert found.is_relative_to(machine / "cache")
    assert count.read_text() == "x\n"


def test_without_debians_tools_it_is_said_what_to_do(machine: Path) -> None:
    assert not promtool.available()
    with pytest.raises(ServiceError, match="put it on PATH"):
        promtool.program("promtool")


def test_a_download_that_fails_is_told_with_the_tools_words(machine: Path) -> None:
    executable(machine / "bin/apt-get", "#!/bin/sh\necho E: no such package >&2\nexit 100\n")
    executable(machine / "bin/dpkg-deb")
    with pytest.raises(ServiceError, match="E: no such package"):
        promtool.program("promtool")


def test_no_other_program_is_asked_for(machine: Path) -> None:
    with pytest.raises(ValueError, match="amtool"):
        promtool.program("amtool")
