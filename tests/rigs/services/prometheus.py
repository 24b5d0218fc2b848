"""A real Prometheus on loopback, for tests that ask what it has seen."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from deploy.dev.monitoring.promtool import program
from workers.embedded.processes import LOOPBACK, ChildProcess, free_ports, service_environment

START_S = 60.0
ANSWER_S = 10.0


class Prometheus:
    """Scrapes and evaluates every second. ``scrapes`` are entries of ``scrape_configs``, and
    ``rules`` is the text of a rule file."""

    def __init__(
        self, folder: Path, scrapes: Sequence[Mapping[str, Any]], rules: str | None = None
    ) -> None:
        (self.port,) = free_ports(1)
        config: dict[str, Any] = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "scrape_configs": list(scrapes),
        }
        if rules is not None:
            (folder / "rules.yaml").write_text(rules, encoding="utf-8")
            config["rule_files"] = [str(folder / "rules.yaml")]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._process = ChildProcess(
            "prometheus",
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.port}",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
            environment=service_environment(),
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._process.wait_until(self._ready, within_s=START_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.stop()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression at this moment.

        Raises:
            ValueError: Prometheus refuses the expression, with its words.
        """
        answer = self._asked(f"query?{urllib.parse.urlencode({'query': expression})}")
        if answer["status"] != "success":
            raise ValueError(f"{expression}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing_alerts(self) -> list[dict[str, Any]]:
        """All alerts that fire."""
        alerts = self._asked("alerts")["data"]["alerts"]
        return [it for it in alerts if it["state"] == "firing"]

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name; one of several of the same name."""
        return {it["labels"]["alertname"]: it for it in self.firing_alerts()}

    def failing_rules(self) -> dict[str, str]:
        """The rules whose last evaluation failed, with Prometheus' words."""
        return {
            rule["name"]: rule.get("lastError", rule["health"])
            for group in self._asked("rules")["data"]["groups"]
            for rule in group["rules"]
            if rule["health"] == "err"
        }

    def _asked(self, path: str) -> dict[str, Any]:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", f"/api/v1/{path}")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def _ready(self) -> bool:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
