"""What tests need is fetched or built once, by programs of others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.dev.installing import install, made_once
from workers.embedded.processes import ServiceError


def python(code: str, deadline_s: float = 60.0) -> str:
    return install([sys.executable, "-c", code], deadline_s, "check the network")


def test_a_command_returns_what_it_prints() -> None:
    assert python("import sys; print(1); print(2, file=sys.stderr)") == "1\n"


def test_a_command_that_fails_is_told_with_its_words_and_the_advice() -> None:
    with pytest.raises(ServiceError, match=r"(?s)\(status 3\); check the network:\nout\nerr"):
        python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")


def test_a_command_that_is_late_is_told_with_the_advice() -> None:
    with pytest.raises(ServiceError, match=r"no end within 0\.2 s; check the network"):
        python("import time; time.sleep(60)", deadline_s=0.2)


def test_a_path_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> Path:
        made.append(folder)
        (folder / "new").write_text("text")
        return folder / "new"

    wanted = tmp_path / "cache/file"
    for _ in range(2):
        assert made_once(wanted, make).read_text() == "text"
    assert len(made) == 1
    assert not made[0].exists()


def test_what_could_not_be_made_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    def broken(folder: Path) -> Path:
        (folder / "part").touch()
        raise ServiceError("no network")

    wanted = tmp_path / "cache/folder"
    with pytest.raises(ServiceError, match="no network"):
        made_once(wanted, broken)
    assert [each.name for each in wanted.parent.iterdir()] == [".lock"]

    def whole(folder: Path) -> Path:
        (folder / "whole").mkdir()
        return folder / "whole"

    assert made_once(wanted, whole).is_dir()
