"""A Prometheus that scrapes one driver as monitoring/README.md says."""

from __future__ import annotations

from pathlib import Path

from deploy.dev.monitoring.rules import defaults, rules_file, scaled
from tests.fault.alerts.record import FASTER
from tests.rigs.services.prometheus import Prometheus
from workers.embedded.processes import LOOPBACK

NAMESPACE = "images"


def scraping(folder: Path, health_port: int) -> Prometheus:
    """With the rules at a sixtieth of their times, and its files in ``folder``."""
    target = {
        "targets": [f"{LOOPBACK}:{health_port}"],
        # The port would be another one in each run.
        "labels": {"namespace": NAMESPACE, "instance": "driver"},
    }
    scrape = {
        "job_name": "clipstream-driver",
        "metrics_path": "/metrics/all",
        "static_configs": [target],
    }
    return Prometheus(folder, [scrape], rules_file(scaled(defaults(), FASTER)))
