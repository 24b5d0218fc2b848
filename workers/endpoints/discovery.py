"""The discovery file: lists the workers of a host for Prometheus' ``file_sd_configs``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.errors import Halt
from workers.endpoints.identity import STREAM, EndpointId


def update_discovery(path: Path, identity: EndpointId, target: str | None) -> None:
    """Put a worker's endpoint into the file, in place of an older one of the same identity. Without
    a target, remove it.

    The file is replaced atomically under a lock, because workers of several drivers may write it.

    Raises:
        Halt: the file cannot be written, or is not such a file.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            groups = [group for group in _groups(path) if not _is_of(group, identity)]
            if target is not None:
                groups.append({"targets": [target], "labels": identity.labels})
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(groups, indent=1) + "\n")
            fresh.replace(path)
    except OSError as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} cannot be written ({error.strerror}); fix its "
            "permissions, or name another file",
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise Halt(
            "endpoints.discovery_file",
            f"endpoints.discovery_file: {path} holds something else than workers' endpoints; "
            "name another file, or remove this one",
        ) from error


def _is_of(group: dict[str, Any], identity: EndpointId) -> bool:
    labels = {"kind": STREAM, **group["labels"]}
    if labels["kind"] != identity.kind or labels["worker"] != str(identity.slot):
        return False
    # An older release named the worker only. Such an entry is taken for this driver's.
    return all(labels.get(name, value) == value for name, value in identity.labels.items())


def _groups(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    groups: list[dict[str, Any]] = json.loads(path.read_text() or "[]")
    return groups
