"""The dashboards as they look while alerts are raised: pictures for monitoring/README.md."""

from __future__ import annotations

import time

from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.pictures import Window, draw
from tests.fault.alerts.record import may_write
from tests.rigs.root import ROOT
from tests.rigs.services.prometheus import Prometheus
from workers.embedded.processes import LOOPBACK

FOLDER = ROOT / "docs/images/dashboards"

LOOK_BACK = "10s"
"""Of rates: ten scrapes."""


def keep_pictures(prometheus: Prometheus, since: float, *names: str) -> None:
    """Draw these dashboards from ``since`` (monotonic, s) until now, if this run may write."""
    if not may_write():
        return
    address = f"http://{LOOPBACK}:{prometheus.port}"
    window = Window(address, (time.monotonic() - since) / 60, LOOK_BACK)
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        if board.name in names:
            draw(board, window, FOLDER / f"{board.name}.png")
