"""Files of monitoring/ that the chart carries, because Helm reads no file outside a chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
INTO = "helm/clipstream/files"
COPIED = ("rules/*.yaml", "parameters.yaml", "dashboards/*.json")


def copies(root: Path = ROOT) -> Mapping[str, Callable[[], str]]:
    """Path of each copy → what reads the original."""
    monitoring = root / "monitoring"
    originals = sorted(file for pattern in COPIED for file in monitoring.glob(pattern))
    return {
        f"{INTO}/{file.relative_to(monitoring)}": partial(file.read_text, encoding="utf-8")
        for file in originals
        if not file.name.endswith("_test.yaml")
    }
