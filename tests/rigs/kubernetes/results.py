"""Results of tests that run on demand alone. The last one of each is committed beside them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.dev.cluster import programs
from tests.rigs.checkout import commit
from tests.rigs.root import ROOT
from workers.embedded.jars import KAFKA_VERSION

RESULTS = ROOT / "tests/component/kubernetes/results"

VERSIONS = {
    "kubernetes": programs.KUBERNETES,
    "helm": programs.HELM.version,
    "kuberay": programs.KUBERAY,
    "keda": programs.ON_DEMAND[0].version,
    "kafka": KAFKA_VERSION,
}


def write(name: str, measured: Mapping[str, Any]) -> Path:
    """Write what was measured, of which commit, on which machine, as ``name``.json."""
    file = RESULTS / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    told = {
        "measured": datetime.now(UTC).date().isoformat(),
        "commit": commit(RESULTS),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.system(),
            "load_1_min": round(os.getloadavg()[0], 1),
        },
        "versions": VERSIONS,
        **measured,
    }
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return file
