"""Programs from the Go module proxy: the module that is made to build one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.dev import go_programs
from deploy.dev.cluster import programs
from deploy.dev.go_programs import GoProgram, requirements
from workers.embedded.processes import ServiceError

PLAIN = GoProgram("tool", "example.com/tool", "v1.2.3", "example.com/tool/cmd/tool")
STAGED = GoProgram("tool", "example.com/tool", "v1.2.3", "example.com/tool", staging="v0.2.3")


def replaced(old: str, new: str, version: str | None = None) -> dict[str, Any]:
    return {"Old": {"Path": old}, "New": {"Path": new, "Version": version}}


def test_the_versions_are_those_that_upstream_has_chosen() -> None:
    upstream = {
        "Go": "1.24.0",
        "Require": [{"Path": "example.com/library", "Version": "v2.0.1"}],
        "Replace": [replaced("example.com/a", "example.com/fork", "v1.0.0")],
    }
    assert requirements(PLAIN, upstream).splitlines() == [
        "module clipstream.build/program",
        "go 1.24.0",
        "require example.com/tool v1.2.3",
        "require example.com/library v2.0.1",
        "replace example.com/a => example.com/fork v1.0.0",
    ]


def test_a_replacement_of_one_version_stays_one_of_that_version() -> None:
    one = replaced("example.com/a", "example.com/fork", "v1.0.0")
    one["Old"]["Version"] = "v0.9.0"
    assert "replace example.com/a v0.9.0 => example.com/fork v1.0.0" in requirements(
        PLAIN, {"Replace": [one]}
    )


def test_a_folder_of_the_repository_is_the_module_that_was_published_from_it() -> None:
    upstream = {
        "Require": [{"Path": "example.com/api", "Version": "v0.0.0"}],
        "Replace": [replaced("example.com/api", "./staging/src/example.com/api")],
    }
    written = requirements(STAGED, upstream)
    assert "require example.com/api v0.2.3\n" in written
    assert "replace example.com/api => example.com/api v0.2.3\n" in written


def test_a_folder_without_a_published_version_is_refused() -> None:
    with pytest.raises(ServiceError, match=r"tool: example\.com/api is a folder"):
        requirements(PLAIN, {"Replace": [replaced("example.com/api", "../api")]})


def test_a_module_that_is_kept_out_stays_unnamed() -> None:
    upstream = {"Replace": [replaced("example.com/old", "./FORBIDDEN_DEPENDENCY")]}
    assert "example.com/old" not in requirements(PLAIN, upstream)


def test_without_a_toolchain_only_what_is_built_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert not go_programs.available([PLAIN])
    with pytest.raises(ServiceError, match="tool: built once by a Go toolchain"):
        go_programs.built([PLAIN])
    PLAIN.path.parent.mkdir(parents=True, exist_ok=True)
    PLAIN.path.touch()
    assert go_programs.available([PLAIN])
    assert go_programs.built([PLAIN]) == [PLAIN.path]


TOOLCHAIN = """#!/bin/sh
case "$1 $2" in
"mod download") echo '{"GoMod": "go.mod"}' ;;
"mod edit") echo '{}' ;;
build*) while [ "$1" != -o ]; do shift; done; touch "$2" ;;
esac
"""
"""In place of Go: what it is asked for is there at once."""


def test_a_build_says_what_it_does_and_what_it_took(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "go").write_text(TOOLCHAIN)
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    another = replace(PLAIN, name="other")
    assert all(path.is_file() for path in go_programs.built([PLAIN, another]))
    told = [re.sub(r"\d+ s", "N s", line) for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "building tool v1.2.3, once: 1 of 2",
        "built tool v1.2.3 in N s, N s of processor time",
        "building other v1.2.3, once: 2 of 2",
        "built other v1.2.3 in N s, N s of processor time",
    ]
    go_programs.built([PLAIN, another])
    assert capsys.readouterr().err == "", "what is there is not built again"


def test_every_program_of_a_cluster_has_a_name_of_its_own() -> None:
    names = [each.name for each in (*programs.EVERY_RUN, *programs.ON_DEMAND)]
    assert len({*names}) == len(names)
