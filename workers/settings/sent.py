"""Settings on their way from the driver to its workers. Secrets stay behind: each worker takes them
from its own machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from pipeline.errors import Halt
from workers.settings.catalogue import variable_of
from workers.settings.loading import CATALOGUE, Settings, read_settings

_SECRETS = tuple(path for path, setting in CATALOGUE.settings.items() if setting.secret)


@dataclass(frozen=True, slots=True)
class SentSettings:
    """Settings without their secrets, and the dotted paths of the secrets that are set. Ray keeps
    the arguments of actors in its head, and whoever reaches Ray's ports can read them."""

    settings: Settings
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> SentSettings:
        """What may be sent."""
        secrets = tuple(path for path in _SECRETS if _value(settings, path) is not None)
        for path in secrets:
            settings = _replaced(settings, path.split("."), None)
        return cls(settings, secrets)

    def resolved(self, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings with the secrets of this machine: those of the environment, else those of
        the file that CLIPSTREAM_CONFIG names here.

        Raises:
            Halt: ``settings.secret_missing``: this machine has not all of them;
                ``settings.*``: its file cannot be read.
        """
        settings = self.settings
        if not self.secrets:
            return settings
        given = read_settings(environment=environment)
        for path in self.secrets:
            value = given.value(path, None)
            if not isinstance(value, str) or not value:
                raise Halt(
                    "settings.secret_missing",
                    f"settings: the driver has {path} and this machine has not; set "
                    f"{variable_of(path)} in the environment of the worker's processes, as from a "
                    "Secret of the pod",
                )
            settings = _replaced(settings, path.split("."), SecretStr(value))
        return settings


@contextlib.contextmanager
def secrets_in_environment(settings: Settings) -> Iterator[None]:
    """For the time of the block, this process's environment has the secrets of the settings,
    wherever they come from. Programs that are started in it hand them on to the workers."""
    before: dict[str, str | None] = {}
    try:
        for path in _SECRETS:
            secret = _value(settings, path)
            if secret is not None:
                name = variable_of(path)
                before[name] = os.environ.get(name)
                os.environ[name] = secret.get_secret_value()
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _value(settings: Settings, path: str) -> SecretStr | None:
    value: Any = settings
    for part in path.split("."):
        value = getattr(value, part)
    found: SecretStr | None = value
    return found


def _replaced(section: Any, path: list[str], value: SecretStr | None) -> Any:
    """A copy with one value changed. Not validated: the driver did so."""
    name, *rest = path
    part = value
    if rest:
        inner: BaseModel = getattr(section, name)
        part = _replaced(inner, rest, value)
    return section.model_copy(update={name: part})
