"""The image of the cluster's pods, made of Debian's packages without a registry.

The image is thin: it has Python and the commands `clipstream` and `ray`, and neither the project's
code nor its dependencies. Pods mount both, read-only, from the developer's tree. A change of the
code is in the next pod, and nothing has to be built.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from deploy.dev.cluster.node.requirements import need
from deploy.dev.installing import install, made_once
from workers.embedded.cache import cache_folder

RELEASE = "bookworm"
"""Debian's release whose Python loads the wheels of a developer's 3.11."""

PACKAGES = ("ca-certificates", "python3", "tini")

IMAGE = "localhost/clipstream:thin"
PAUSE = "localhost/pause:thin"
"""The first container of each pod: it holds the pod's network and collects its dead processes."""

HOME = "/opt/clipstream"
CODE = f"{HOME}/code"
SITE_PACKAGES = f"{HOME}/site-packages"

BUILD_DEADLINE_S = 900.0
"""Two minutes, most of which the packages take to arrive."""

_COMMAND = """#!/usr/bin/python3
import sys
from {module} import main
if __name__ == "__main__":
    sys.exit(main())
"""

_FILES = {
    "opt/clipstream/bin/clipstream": _COMMAND.format(module="workers.cli"),
    "opt/clipstream/bin/ray": _COMMAND.format(module="ray.scripts.scripts"),
    # Found by isolated interpreters too, unlike PYTHONPATH. The code comes first: the environment
    # of a developer may name another tree.
    "usr/local/lib/python3.11/dist-packages/clipstream.pth": (
        f"{CODE}\nimport site; site.addsitedir({SITE_PACKAGES!r})\n"
    ),
}
_FOLDERS = (HOME, CODE, SITE_PACKAGES, "/models", "/etc/clipstream")

_ENVIRONMENT = {
    "PATH": f"{HOME}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the one place where a pod of any user may write
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


def archive() -> Path:
    """Both images in one file, as `ctr images import` takes it. Made once, kept by its recipe.

    Raises ``ServiceError`` where the packages or root's rights are missing.
    """
    recipe = repr((RELEASE, PACKAGES, _FILES, _FOLDERS, _ENVIRONMENT, _configurations("", "")))
    folder = cache_folder("thin-image", hashlib.sha256(recipe.encode()).hexdigest()[:16])
    return made_once(folder / "images.tar", _make)


def _make(folder: Path) -> Path:
    base, added, made = (folder / name for name in ("base.tar", "added.tar", "images.tar"))
    _install_debian(base)
    _add_files(added)
    base_hash, added_hash = (_sha256(layer) for layer in (base, added))
    manifest = []
    with tarfile.open(made, "w") as images:
        images.add(base, f"{base_hash}.tar")
        images.add(added, f"{added_hash}.tar")
        for tag, configuration in _configurations(base_hash, added_hash).items():
            text = json.dumps(configuration)
            name = f"{hashlib.sha256(text.encode()).hexdigest()}.json"
            _add_text(images, name, text)
            layers = [f"{base_hash}.tar", f"{added_hash}.tar"]
            manifest.append({"Config": name, "RepoTags": [tag], "Layers": layers})
        _add_text(images, "manifest.json", json.dumps(manifest))
    return made


def _install_debian(target: Path) -> None:
    need("mmdebstrap")
    left_out = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
    install(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in left_out),
            RELEASE,
            str(target),
        ],
        BUILD_DEADLINE_S,
        "check the network",
        # A build of the same packages has the same bytes.
        environment={**os.environ, "SOURCE_DATE_EPOCH": "0"},
    )


def _add_files(target: Path) -> None:
    with tarfile.open(target, "w") as layer:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        for name, text in _FILES.items():
            _add_text(layer, name, text, mode=0o755)


def _add_text(archive: tarfile.TarFile, name: str, text: str, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    content = text.encode()
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _configurations(base: str, added: str) -> dict[str, dict[str, object]]:
    """The images' configurations by tag, as the OCI specification has them."""
    common = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{base}", f"sha256:{added}"]},
    }
    environment = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
    return {
        IMAGE: {
            **common,
            "config": {
                "User": "1000:0",
                "Env": environment,
                "Entrypoint": ["tini", "--", "clipstream"],
                "WorkingDir": "/tmp",  # noqa: S108
            },
        },
        PAUSE: {
            **common,
            "config": {
                "User": "65535:65535",
                "Env": environment,
                "Entrypoint": ["tini", "--", "sleep", "infinity"],
            },
        },
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
