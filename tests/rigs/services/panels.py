"""Which panels of the dashboards have data, as a real Prometheus answers their queries."""

from __future__ import annotations

from deploy.dev.monitoring.boards import PANELS
from tests.rigs.services.prometheus import Prometheus


def panels_with_data(prometheus: Prometheus) -> set[str]:
    """The panels each of whose queries has series, as ``board: title``. Rates are those of the last
    minute."""
    return {
        name
        for name, panel in PANELS.items()
        if all(prometheus.query(query.filled("1m")) for query in panel.queries)
    }
