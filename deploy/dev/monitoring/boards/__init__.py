"""The dashboards, as plain data: which panels, what they ask Prometheus, and what they mean.

Read ``board`` first: what a dashboard is made of. Each other module is one dashboard: ``overview``
for whoever is on duty, ``stream``, ``gpu``, ``store`` (fetching and decoding), ``kafka``,
``decisions`` for moderators, ``backfill`` and ``http``. ``deploy.dev.monitoring.grafana`` makes
Grafana's JSON of them.
"""

from collections.abc import Mapping

from deploy.dev.monitoring.boards.backfill import BACKFILL
from deploy.dev.monitoring.boards.board import Board, Panel
from deploy.dev.monitoring.boards.decisions import DECISIONS
from deploy.dev.monitoring.boards.gpu import GPU
from deploy.dev.monitoring.boards.http import HTTP
from deploy.dev.monitoring.boards.kafka import KAFKA
from deploy.dev.monitoring.boards.overview import OVERVIEW
from deploy.dev.monitoring.boards.store import STORE
from deploy.dev.monitoring.boards.stream import STREAM

BOARDS: tuple[Board, ...] = (
    OVERVIEW,
    STREAM,
    GPU,
    STORE,
    KAFKA,
    DECISIONS,
    BACKFILL,
    HTTP,
)

PANELS: Mapping[str, Panel] = {
    f"{board.name}: {panel.title}": panel for board in BOARDS for panel in board.panels
}
"""Every panel by ``board: title``."""
