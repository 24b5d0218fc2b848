"""Which panels of the dashboards have data, as a real Prometheus answers their queries."""

from __future__ import annotations

import re

from deploy.dev.monitoring.boards import BOARDS
from tests.rigs.services.prometheus import Prometheus


def panels_with_data(prometheus: Prometheus) -> set[str]:
    """The panels each of whose queries has series, as ``board: title``."""
    return {
        f"{board.name}: {panel.title}"
        for board in BOARDS
        for panel in board.panels
        if all(prometheus.query(filled(query.expr)) for query in panel.queries)
    }


def filled(expression: str) -> str:
    """The query as Grafana sends it, for a look back at one minute and at all of everything."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))
