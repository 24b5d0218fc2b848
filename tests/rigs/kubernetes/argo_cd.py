"""Argo CD as the example sets it up: its Applications, sync waves and health checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

# Argo CD runs Lua 5.1.
from lupa.lua51 import LuaRuntime

from tests.rigs.root import ROOT

EXAMPLE: list[dict[str, Any]] = list(
    yaml.safe_load_all(
        (ROOT / "deploy/examples/kubernetes/argocd-application.yaml").read_text(encoding="utf-8")
    )
)

APPLICATIONS = {each["metadata"]["name"]: each for each in EXAMPLE if each["kind"] == "Application"}

(_CONFIG,) = (each["data"] for each in EXAMPLE if each["kind"] == "ConfigMap")


def health(thing: Mapping[str, Any]) -> tuple[str, str]:
    """What the example's check says of an object: its health, and why."""
    group = thing["apiVersion"].partition("/")[0]
    check = _CONFIG[f"resource.customizations.health.{group}_{thing['kind']}"]
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    lua.globals().obj = lua.table_from(thing, recursive=True)
    answer = lua.execute(check)
    return answer["status"], answer["message"]


def wave(thing: Mapping[str, Any]) -> int:
    """The sync wave of an object. Argo CD takes the weight of a Helm hook for one."""
    annotations = thing["metadata"].get("annotations", {})
    weight = annotations.get("helm.sh/hook-weight", "0")
    return int(annotations.get("argocd.argoproj.io/sync-wave", weight))
