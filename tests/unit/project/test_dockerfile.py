"""deploy/Dockerfile and .dockerignore, as they are written. What is in the built image is checked
by `make image-tests`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from deploy.dev.image import COMPILER, RUNTIME, project_version
from tests.rigs.root import ROOT
from workers.settings.loading import Settings

TEXT = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Instruction:
    stage: str
    word: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, continued lines joined, each with the stage it is in."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found: list[Instruction] = []
    stage = ""
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                stage = rest.split()[-1]
            found.append(Instruction(stage, word, rest.strip()))
    return found


ALL = instructions(TEXT)


def of(stage: str, word: str) -> list[str]:
    return [each.rest for each in ALL if (each.stage, each.word) == (stage, word)]


def last_of_image(word: str) -> str:
    """What counts in the image: the last such instruction of its stage."""
    return of(RUNTIME, word)[-1]


def test_instructions_are_read_as_docker_reads_them() -> None:
    text = "# a\nARG A=1\nFROM x AS one\nRUN a; \\\n    # within\n    b\nUSER 1\n"
    assert instructions(text) == [
        Instruction("", "ARG", "A=1"),
        Instruction("one", "FROM", "x AS one"),
        Instruction("one", "RUN", "a;      b"),
        Instruction("one", "USER", "1"),
    ]


def test_the_image_runs_the_command_under_tini_as_uid_1000_and_group_0() -> None:
    assert json.loads(last_of_image("ENTRYPOINT")) == ["tini", "--", "clipstream"]
    assert last_of_image("USER") == "1000:0"
    assert of(COMPILER, "USER")[-1] == "1000:0"


def test_nothing_runs_as_root_after_the_user_is_set() -> None:
    words = [each.word for each in ALL if each.stage == RUNTIME]
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :])


def test_without_a_target_the_image_has_no_compiler() -> None:
    assert ALL[[each.word for each in ALL].index("FROM", 0)].stage == "base"
    *_, last = [each for each in ALL if each.word == "FROM"]
    assert last.rest == RUNTIME
    for stage in ("base", RUNTIME):
        assert not [run for run in of(stage, "RUN") if re.search(r"\b(gcc|g\+\+|python3-dev)", run)]
    (run,) = of(COMPILER, "RUN")
    assert {"gcc", "g++", "python3-dev"} <= set(re.split(r"[\s;]+", run))


@pytest.mark.parametrize("stage", [RUNTIME, COMPILER])
def test_setuid_is_stripped_after_the_last_package_is_installed(stage: str) -> None:
    run = of(stage, "RUN")[-1]
    strip = run.index("-perm /6000 -exec chmod a-s")
    assert strip > run.rfind("apt-get install")


def test_what_is_installed_from_an_index_is_pinned_by_hash() -> None:
    (install, wheel) = of("build", "RUN")[1:]
    for line in re.findall(r"pip install [^;]*", install):
        assert "--require-hashes" in line
    assert install.count("pip install ") == 2
    # The project's own wheel has no hash; so nothing else may come with it.
    assert "--offline" in wheel
    assert "--no-deps" in wheel


def test_no_secret_is_an_argument_or_a_variable() -> None:
    names = {
        name
        for each in ALL
        if each.word in ("ARG", "ENV")
        for name in re.findall(r"(\w+)=", each.rest)
    }
    assert {"INDEX", "BASE", "HOME"} <= names
    assert not [name for name in names if re.search("TOKEN|PASSWORD|SECRET|KEY|CERT", name)]


def test_each_layer_that_installs_packages_removes_the_lists() -> None:
    for each in ALL:
        if each.word == "RUN" and "apt-get update" in each.rest and each.stage != "build":
            assert "rm -rf /var/lib/apt/lists/*" in each.rest
            assert "--no-install-recommends" in each.rest


def test_every_argument_is_used_and_in_the_docs() -> None:
    page = (ROOT / "docs/image.md").read_text(encoding="utf-8")
    names = [each.rest.partition("=")[0] for each in ALL if each.word == "ARG"]
    assert len(names) == len(set(names)) == 8
    for name in names:
        assert re.search(rf"\$\{{?{name}\b", TEXT)
        assert f"`{name}`" in page


def test_labels_are_those_of_oci_and_the_version_is_the_projects() -> None:
    labels = dict(
        re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last_of_image("LABEL"))
    )
    assert labels.keys() == {
        "title",
        "description",
        "version",
        "revision",
        "created",
        "licenses",
    }
    assert f"VERSION={project_version()}" in of(RUNTIME, "ARG")
    chart = (ROOT / "helm/clipstream/Chart.yaml").read_text()
    assert f"\nappVersion: {project_version()}\n" in chart
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'description = "{labels["description"]}"' in project
    assert f'license = "{labels["licenses"]}"' in project


def test_the_health_check_asks_the_drivers_port_and_runs_no_shell() -> None:
    check = last_of_image("HEALTHCHECK")
    program = json.loads(check[check.index("[") :])
    assert program[:2] == ["python3", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")
    assert str(Settings().endpoints.health_port) in program[2]


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    assert IGNORE.splitlines()[1] == "*"
    admitted = {line.removeprefix("!") for line in IGNORE.splitlines() if line.startswith("!")}
    copied = {
        source
        for each in ALL
        if each.word == "COPY" and "--from" not in each.rest
        for source in each.rest.split()[:-1]
    }
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source == each or source.startswith(f"{each}/") for each in admitted)
    for each in admitted:
        assert any(source == each or source.startswith(f"{each}/") for source in copied)


def test_no_registry_is_named() -> None:
    """Short names: whoever builds decides where they come from."""
    images = [each.rest.split()[0] for each in ALL if each.word == "FROM"]
    defaults = [each.rest.partition("=")[2] for each in ALL if each.word == "ARG"]
    assert not [name for name in images + defaults if "." in name.split("/")[0] and "/" in name]
