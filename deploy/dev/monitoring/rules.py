"""Alert and recording rules: templates with parameters → a file that Prometheus reads.

A template is a rule file of Prometheus with ``${name}`` where a parameter stands. Replacing these
is the whole of rendering. The chart renders the same templates in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "monitoring"
TEMPLATES = MONITORING / "rules"

Parameters = Mapping[str, str | int | float]

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")

NOTICE = (
    "# Rendered by `make docs` from monitoring/rules, with the defaults of "
    "monitoring/parameters.yaml.\n"
    "# For other parameters: python -m deploy.dev.monitoring --parameters FILE > rules.yaml\n"
)


def defaults() -> Parameters:
    """The committed parameters."""
    return parameters_of(MONITORING / "parameters.yaml")


def parameters_of(file: Path) -> Parameters:
    """The parameters of a file.

    Raises:
        ValueError: the file is no mapping of names to numbers and texts.
    """
    loaded: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict) or not all(
        isinstance(value, str | int | float) for value in loaded.values()
    ):
        raise ValueError(f"{file}: holds something else than names with numbers and texts")
    return loaded


def scaled(parameters: Parameters, divisor: int) -> Parameters:
    """The same parameters in a ``divisor``-th of the time: every ``…_s``, but for the objectives
    of latency, which are bounds of histograms. No time becomes less than a second."""
    return {
        name: max(1, round(value / divisor))
        if name.endswith("_s") and name not in _OBJECTIVES and not isinstance(value, str)
        else value
        for name, value in parameters.items()
    }


_OBJECTIVES = frozenset({"latency_objective_s", "http_latency_s"})


def rendered(template: str, parameters: Parameters) -> str:
    """The template with its parameters.

    Raises:
        KeyError: the template names a parameter that is not there.
    """
    return _PLACEHOLDER.sub(lambda found: str(parameters[found[1]]), template)


def placeholders(template: str) -> frozenset[str]:
    """The names of the parameters that a template uses."""
    return frozenset(_PLACEHOLDER.findall(template))


def templates() -> Mapping[str, str]:
    """Every template: its name → its text."""
    return {
        file.stem: file.read_text(encoding="utf-8") for file in sorted(TEMPLATES.glob("*.yaml"))
    }


def rules_file(parameters: Parameters) -> str:
    """All templates as one rule file, with their comments."""
    parts = []
    for template in templates().values():
        head, _, groups = rendered(template, parameters).partition("groups:\n")
        parts.append(f"\n{head}{groups}")
    return f"{NOTICE}groups:\n" + "".join(parts)


def default_rules() -> str:
    """The rule file with the committed parameters."""
    return rules_file(defaults())


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as Prometheus reads it. ``name`` is that of the alert, or of the recorded series."""

    name: str
    expr: str
    is_alert: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def rules_of(text: str) -> Iterator[Rule]:
    """The rules of a rendered file."""
    loaded: dict[str, Any] = yaml.safe_load(text)
    for group in loaded["groups"]:
        for rule in group["rules"]:
            yield Rule(
                name=rule.get("alert") or rule["record"],
                expr=rule["expr"],
                is_alert="alert" in rule,
                labels=rule.get("labels", {}),
                annotations=rule.get("annotations", {}),
            )
