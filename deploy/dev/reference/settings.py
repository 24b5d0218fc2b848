"""The reference page of the settings: each with its path, variable, type, bounds and default."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.dev.reference.markdown import NOTICE, table
from workers.commands.config import as_text
from workers.settings.catalogue import Setting
from workers.settings.loading import CATALOGUE

_INTRODUCTION = """\
Settings come from one YAML file (`--config`, or the path in `CLIPSTREAM_CONFIG`), then from
environment variables, then from flags (`--set kafka.group=live`, and the options of a command); the
later one counts. An unknown key, a value of a wrong type and a combination that cannot work stop
the command before it does anything, with the key and what to write instead. `clipstream config`
prints every setting with its value and its origin, `clipstream config --yaml` prints them as a
file.

```yaml
kafka:
  bootstrap_servers: ["kafka-1:9092", "kafka-2:9092"]
  group: live
```

- Variables and `--set` take lists and mappings as JSON:
  `CLIPSTREAM_S3__ALLOWED_BUCKETS='["uploads"]'`. `null` is null where a setting may be that. An
  empty variable sets nothing.
- A list is set as a whole: a later one replaces it. Sections are merged key by key.
- Secrets belong in the environment, filled from your secret store; they are shown nowhere.
- Paths are read on the machines where workers run; write them in full where these are several.
- Credentials of S3 are no settings: they come from boto3's chain (environment, shared files, web
  identity, container, instance).

Annotated files to start from: [deploy/examples](../../deploy/examples).
"""

_HEAD = ("Setting", "Value", "Default", "Meaning")


def render() -> str:
    """The page as Markdown."""
    return f"# Settings\n\n{NOTICE}\n\n{_INTRODUCTION}" + "".join(_sections())


def _sections() -> Iterator[str]:
    for section, about in CATALOGUE.sections.items():
        settings = list(CATALOGUE.within(section))
        if section.endswith("[]"):
            settings.insert(0, CATALOGUE.settings[section.removesuffix("[]")])
        yield f"\n## {section}\n\n{about}\n\n{table(_HEAD, map(_row, settings))}"


def _row(setting: Setting) -> tuple[str, str, str, str]:
    variable = f"<br>`{setting.variable}`" if setting.variable else ""
    bounds = f", {setting.bounds}" if setting.bounds else ""
    return (
        f"`{setting.path}`{variable}",
        f"{setting.type}{bounds}",
        f"`{as_text(setting.default)}`",
        setting.description,
    )
