"""`make image`: which engine builds, and with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.dev import image
from deploy.dev.image import (
    ENGINES,
    ImageError,
    Wanted,
    command,
    engine,
    project_version,
    wanted_of,
)


def programs(folder: Path, **answers: str) -> str:
    """A PATH with programs that print something, or fail if it is empty."""
    for name, answer in answers.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{f'echo {answer}' if answer else 'exit 1'}\n")
        program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ({"docker": "27.0", "podman": "overlay", "buildah": "overlay"}, "docker"),
        ({"docker": "", "podman": "overlay", "buildah": "overlay"}, "podman"),
        ({"docker": "", "buildah": "overlay"}, "buildah"),
    ],
)
def test_the_first_engine_that_works_builds(
    answers: dict[str, str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, **answers))
    assert engine() == chosen


def test_without_an_engine_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, docker=""))
    monkeypatch.setattr("sys.argv", ["image"])
    assert image.main() == 1
    assert "install" in capsys.readouterr().err


def test_an_engine_that_is_named_must_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, docker="27.0", podman=""))
    with pytest.raises(ImageError, match="podman"):
        engine("podman")
    with pytest.raises(ImageError, match="kaniko"):
        engine("kaniko")


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_asked_for_the_same_image(name: str) -> None:
    words = command(Wanted(target="compiler", without="nncf openvino"), name, "/ca.pem")
    assert words[words.index("--file") + 1] == "deploy/Dockerfile"
    assert words[words.index("--target") + 1] == "compiler"
    assert words[words.index("--tag") + 1] == f"clipstream:{project_version()}-compiler"
    assert "--build-arg=WITHOUT=nncf openvino" in words
    assert f"--build-arg=VERSION={project_version()}" in words
    assert "--secret=id=certificates,src=/ca.pem" in words
    # What is not given is left to the Dockerfile.
    assert not [word for word in words if "BASE" in word or "netrc" in word]
    assert ("docker" in words[words.index("--format") :]) if name != "docker" else True
    assert words[-1] == "."


def test_options_are_the_arguments_of_the_dockerfile() -> None:
    wanted, named = wanted_of(
        ["--engine", "buildah", "--torch-index", "https://example.com/cpu", "--torch-sha256", "ab"]
    )
    assert named == "buildah"
    assert wanted.name == f"clipstream:{project_version()}"
    arguments = wanted.arguments()
    assert arguments["TORCH_INDEX"] == "https://example.com/cpu"
    assert arguments["TORCH_SHA256"] == "ab"
    assert arguments.keys() >= {"VERSION", "REVISION", "CREATED"}
