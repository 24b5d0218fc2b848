"""constraints-production.txt and constraints-build.txt beside constraints.txt, and what the image
installs of them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.image.requirements import OF_CUDA, choose, main, pins
from tests.rigs.root import ROOT

PRODUCTION = (ROOT / "constraints-production.txt").read_text(encoding="utf-8")
BUILD = (ROOT / "constraints-build.txt").read_text(encoding="utf-8")
EVERYTHING = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_IN_THE_IMAGE = {"demo"}
"""Extras that the image lacks: a Kafka and an S3 server of its own."""
SHA = "0" * 64


def applicable(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def names(requirements: list[str]) -> set[str]:
    read = [Requirement(each) for each in requirements]
    return {canonicalize_name(each.name) for each in read if applicable(each)}


def unconditional(lines: str) -> str:
    """A pin without its marker, which says only who else needs the package, and where."""
    return re.sub(r" ; [^\\]*", " ", lines)


def test_each_production_pin_has_the_version_and_the_hashes_of_development() -> None:
    """So what was tested is what is installed."""
    for name, lines in pins(PRODUCTION).items():
        assert unconditional(lines) == unconditional(EVERYTHING[name])


def test_every_pin_has_a_hash() -> None:
    for lines in (*pins(PRODUCTION).values(), *pins(BUILD).values()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", lines)


def test_production_has_the_dependencies_and_the_extras_and_no_developers_tool() -> None:
    pinned = set(pins(PRODUCTION))
    assert names(PROJECT["project"]["dependencies"]) <= pinned
    extras = PROJECT["project"]["optional-dependencies"]
    assert extras.keys() > NOT_IN_THE_IMAGE
    for extra, requirements in extras.items():
        assert (names(requirements) <= pinned) is (extra not in NOT_IN_THE_IMAGE), extra
    tools = names(PROJECT["dependency-groups"]["dev"]) - pinned
    assert {"pytest", "mypy", "ruff", "hypothesis", "matplotlib", "hatchling"} <= tools


def test_everything_in_production_is_needed_by_something_in_it() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"]]
    asked += [each for extra in extras.keys() - NOT_IN_THE_IMAGE for each in extras[extra]]
    needed = {canonicalize_name(Requirement(each).name) for each in asked}
    found: dict[str, Distribution] = {canonicalize_name(e.name): e for e in distributions()}
    for name in pins(PRODUCTION).keys() & found.keys():
        needed |= {canonicalize_name(Requirement(each).name) for each in found[name].requires or []}
    assert pins(PRODUCTION).keys() & found.keys() <= needed


def extras_of_the_command() -> list[str]:
    """Extras that the command asked for that wrote the pins of the image."""
    return re.findall(r"--extra (\w+)", PRODUCTION.partition("-o ")[0])


def test_the_page_of_the_image_names_the_extras_that_the_image_has() -> None:
    page = (ROOT / "docs/image.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| extras in it \| (.*) \|$", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == extras_of_the_command()


def test_the_file_says_the_command_that_wrote_it() -> None:
    """`make lock` writes all three."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = extras_of_the_command()
    assert set(extras) == PROJECT["project"]["optional-dependencies"].keys() - NOT_IN_THE_IMAGE
    assert "".join(f"--extra {each} " for each in extras) in makefile.replace("\\\n\t\t", "")


def test_what_builds_the_wheel_is_pinned_with_uv_as_the_makefile_has_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (uv,) = re.findall(r"^UV_VERSION := (.*)$", makefile, re.MULTILINE)
    assert pins(BUILD)["uv"].startswith(f"uv=={uv} ")
    backend = [Requirement(each) for each in PROJECT["build-system"]["requires"]]
    for requirement in backend:
        version = re.match(r"[\w-]+==(\S+)", pins(BUILD)[requirement.name])
        assert version is not None
        assert requirement.specifier.contains(version[1])


# -- what the image installs ----------------------------------------------------------------------


def test_without_arguments_everything_is_installed() -> None:
    requirements, torch = choose(PRODUCTION, "", [], [])
    assert pins(requirements) == pins(PRODUCTION)
    assert torch == ""


def test_a_package_keeps_its_pins_for_each_python() -> None:
    text = "a==1 ; python_version < '3.12' \\\n    --hash=sha256:1\na==2 \\\n    --hash=sha256:2\n"
    assert choose(text, "", [], []) == (text, "")


def test_torch_of_another_index_keeps_its_version_and_loses_the_libraries_of_cuda() -> None:
    requirements, torch = choose(PRODUCTION, "https://example.com/cpu", [SHA, "1" * 64], [])
    left_out = pins(PRODUCTION).keys() - pins(requirements).keys()
    assert {"torch", "triton", "nvidia-cublas", "cuda-toolkit"} <= left_out
    assert {name for name in left_out if not OF_CUDA.fullmatch(name)} == {"torch"}
    version = re.match(r"torch==(\S+)", pins(PRODUCTION)["torch"])
    assert version is not None
    assert torch == (
        f"torch=={version[1]} \\\n    --hash=sha256:{SHA} \\\n    --hash=sha256:{'1' * 64}\n"
    )


def test_only_torch_needs_the_libraries_of_cuda() -> None:
    """So they can go with it."""
    found: dict[str, Distribution] = {canonicalize_name(e.name): e for e in distributions()}
    installed = [name for name in pins(PRODUCTION) if name in found]
    assert "torch" in installed
    for name in installed:
        needs = names(distribution(name).requires or [])
        if {each for each in needs if OF_CUDA.fullmatch(each)}:
            assert name == "torch" or OF_CUDA.fullmatch(name)


@pytest.mark.parametrize("sha256", [[], ["0" * 63], ["G" * 64], [SHA, ""]])
def test_torch_of_another_index_needs_its_hash(sha256: list[str]) -> None:
    with pytest.raises(ValueError, match="TORCH_SHA256"):
        choose(PRODUCTION, "https://example.com/cpu", sha256, [])


def test_packages_can_be_left_out_by_name() -> None:
    requirements, _ = choose(PRODUCTION, "", [], ["pillow-heif"])
    assert pins(PRODUCTION).keys() - pins(requirements).keys() == {"pillow-heif"}
    with pytest.raises(ValueError, match="pilow-heif"):
        choose(PRODUCTION, "", [], ["pilow-heif"])


def test_the_program_writes_both_files_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(ROOT / "constraints-production.txt"), "--into", str(tmp_path)]
    assert main([*words, "--without", "Pillow-HEIF nncf"]) == 0
    assert "nncf==" not in (tmp_path / "requirements.txt").read_text()
    assert (tmp_path / "torch.txt").read_text() == ""
    assert main([*words, "--torch-index", "https://example.com/cpu"]) == 2
    assert "TORCH_SHA256" in capsys.readouterr().err
