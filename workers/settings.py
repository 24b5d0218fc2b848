"""Settings: one YAML file, the environment, the flags, in that order, into frozen policies.

The environment is read here and nowhere else. ``CLIPSTREAM_KAFKA__GROUP=g`` sets ``kafka.group``;
a value that is no plain text (a list, a number of a list) is JSON.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipeline.adapters.clip_policy import ModelPolicy
from pipeline.adapters.kafka_config import DeliveryPolicy, KafkaPolicy
from pipeline.adapters.s3_policy import S3Policy
from pipeline.batching import BatchPolicy
from pipeline.decode import DecodePolicy
from pipeline.errors import Halt
from pipeline.events import EventsPolicy
from pipeline.fetch import FetchPolicy
from pipeline.flow import FlowPolicy
from pipeline.labels import LabelSetsPolicy
from pipeline.policy import Policy
from pipeline.references import ReferencesPolicy
from pipeline.retry import BreakerPolicy, RetryPolicy
from pipeline.routes import RoutePolicy
from workers.endpoints import EndpointsPolicy
from workers.logs import LogPolicy
from workers.supervise import WorkersPolicy

ENVIRONMENT_PREFIX = "CLIPSTREAM_"
NOT_SETTINGS = frozenset({"CLIPSTREAM_TEST_DATA", "CLIPSTREAM_CONFIG"})
"""Variables with the prefix that are not settings."""


class Settings(Policy):
    """Everything that a person can set."""

    kafka: KafkaPolicy = Field(default_factory=KafkaPolicy)
    delivery: DeliveryPolicy = Field(default_factory=DeliveryPolicy)
    s3: S3Policy = Field(default_factory=S3Policy)
    references: ReferencesPolicy = Field(default_factory=ReferencesPolicy)
    routes: tuple[RoutePolicy, ...] = Field((), description="Ordered; the first that matches.")
    label_sets: LabelSetsPolicy = Field(default_factory=LabelSetsPolicy)
    model: ModelPolicy = Field(default_factory=ModelPolicy)
    fetch: FetchPolicy = Field(default_factory=FetchPolicy)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = Field(default_factory=BreakerPolicy)
    decode: DecodePolicy = Field(default_factory=DecodePolicy)
    batch: BatchPolicy = Field(default_factory=BatchPolicy)
    flow: FlowPolicy = Field(default_factory=FlowPolicy)
    events: EventsPolicy = Field(default_factory=EventsPolicy)
    workers: WorkersPolicy = Field(default_factory=WorkersPolicy)
    endpoints: EndpointsPolicy = Field(default_factory=EndpointsPolicy)
    log: LogPolicy = Field(default_factory=LogPolicy)


Origin = Literal["default", "file", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Effective settings, and where each that is not a default came from (dotted path)."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None


def load_settings(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge and validate.

    ``flags`` maps dotted paths to values; None values are not set.

    Raises:
        Halt: ``settings.invalid``, with every problem, each naming its key and what to write.
    """
    environment = os.environ if environment is None else environment
    if file is None and "CLIPSTREAM_CONFIG" in environment:
        file = Path(environment["CLIPSTREAM_CONFIG"])
    origins: dict[str, Origin] = {}
    merged: dict[str, Any] = {}
    from_flags: dict[str, Any] = {}
    for path, value in (flags or {}).items():
        if value is not None:
            _put(from_flags, path, value)
    sources: tuple[tuple[Origin, dict[str, Any]], ...] = (
        ("file", _read_file(file) if file else {}),
        ("environment", _read_environment(environment)),
        ("flag", from_flags),
    )
    for origin, values in sources:
        _merge(merged, values, origins, origin)
    for section, field in Settings.model_fields.items():
        # A section left out is validated like an empty one, so that problems name it.
        if section not in merged and field.default_factory is not None:
            merged[section] = {}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        problems = [_problem(dict(problem), origins) for problem in error.errors()]
        raise Halt("settings.invalid", "\n".join(["settings:", *problems])) from error
    return Loaded(settings, origins, file)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Halt("settings.unreadable", f"settings: {file} cannot be read ({error})") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Halt("settings.invalid", f"settings: {file} is not YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Halt("settings.invalid", f"settings: {file}: write sections, as in kafka: …")
    return values


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Variables with the prefix, nested by two underscores.

    Raises:
        Halt: a variable that names no setting; a mistyped one must not be passed over.
    """
    values: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS:
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        _put(values, path, plain_or_json(environment[name]))
    return values


def plain_or_json(text: str) -> Any:
    """Lists and mappings are JSON; everything else is text, which pydantic converts."""
    if text[:1] in ("[", "{"):
        import json

        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise Halt("settings.invalid", f"settings: {path}: {parent} is set as a whole already")
        tree = branch
    tree[leaf] = value


def _merge(
    into: dict[str, Any],
    values: Mapping[Any, Any],
    origins: dict[str, Origin],
    origin: Origin,
    prefix: str = "",
) -> None:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, origins, origin, f"{path}.")
        else:
            into[key] = value
            origins[path] = origin


def _problem(problem: dict[str, Any], origins: Mapping[str, Origin]) -> str:
    """One validation problem as a line: key, what is wrong, what to write, where it was set."""
    path = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "no such setting"
        if near := difflib.get_close_matches(path, known_paths(), n=1):
            message += f"; did you mean {near[0]}?"
    elif problem["type"] != "value_error":
        message += f" (got {_shown(path, problem['input'])})"
    origin = origins.get(path)
    where = f" [{origin}]" if origin else ""
    return f"  {path}: {message}{where}" if path else f"  {message}{where}"


def _shown(path: str, value: Any) -> str:
    if any(word in path for word in ("password", "secret", "token")):
        return "**********"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def known_paths(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted paths of every setting."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            paths.extend(known_paths(nested, f"{prefix}{name}."))
        else:
            paths.append(f"{prefix}{name}")
    return paths


def effective(loaded: Loaded) -> list[tuple[str, str, Origin]]:
    """Path, value and origin of every setting, secrets redacted, in the order of the reference."""
    rows: list[tuple[str, str, Origin]] = []
    for path in known_paths():
        value: Any = loaded.settings
        for part in path.split("."):
            value = getattr(value, part)
        origin: Origin = next(
            (o for key, o in loaded.origins.items() if key == path or key.startswith(f"{path}.")),
            "default",
        )
        rows.append((path, str(value), origin))
    return rows
