"""The reference page of the settings: each with its path, variable, type, bounds and default."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.dev.reference.markdown import NOTICE, table
from pipeline.policy import Tier
from workers.commands.config import as_text
from workers.settings.catalogue import Setting
from workers.settings.loading import CATALOGUE

_INTRODUCTION = """\
Settings come from three places. A later one overrides an earlier one:

1. one YAML file (`--config`, or the path in `CLIPSTREAM_CONFIG`),
2. environment variables,
3. flags (`--set kafka.group=live`, and the options of a command).

A command stops before it does anything if a key is unknown, a value has a wrong type or a
combination cannot work. The message names the key and what to write instead. `clipstream config`
prints the everyday settings and all settings that were set, with value and origin. `--tier tuning`
and `--tier expert` add the other settings, and `--yaml` prints every setting as a file.

```yaml
kafka:
  bootstrap_servers: ["kafka-1:9092", "kafka-2:9092"]
  group: live
```

- Variables and `--set` take lists and mappings as JSON:
  `CLIPSTREAM_S3__ALLOWED_BUCKETS='["uploads"]'`. `null` means null if the setting allows it. An
  empty variable sets nothing.
- A later list replaces an earlier one as a whole. Sections are merged key by key.
- Put secrets into the environment, filled from your secret store. No command or log shows them.
- Paths are read on the machines where workers run. Write absolute paths if there are several
  machines.
- Credentials of S3 are not settings. They come from boto3's chain (environment, shared files, web
  identity, container, instance).

Annotated files to start from: [deploy/examples](../../deploy/examples).
"""

_TIERS = {
    Tier.EVERYDAY: "Every deployment uses these. Look at each of them once.",
    Tier.TUNING: "These fit a deployment to its load, its machines and its rules. The defaults "
    "work.",
    Tier.EXPERT: "These defaults were measured or depend on one another. Read the page of docs/ "
    "that explains a setting before you change it.",
}

_HEAD = ("Setting", "Value", "Default", "Meaning")


def render() -> str:
    """The page as Markdown."""
    return f"# Settings\n\n{NOTICE}\n\n{_INTRODUCTION}" + "".join(
        f"\n## {tier.capitalize()} settings\n\n{about}\n{''.join(_sections(tier))}"
        for tier, about in _TIERS.items()
    )


def _sections(tier: Tier) -> Iterator[str]:
    """The sections that have settings of a tier, with these."""
    for section, about in CATALOGUE.sections.items():
        settings = list(CATALOGUE.within(section))
        if section.endswith("[]"):
            settings.insert(0, CATALOGUE.settings[section.removesuffix("[]")])
        if rows := [_row(setting) for setting in settings if setting.tier is tier]:
            yield f"\n### {section}\n\n{about}\n\n{table(_HEAD, rows)}"


def _row(setting: Setting) -> tuple[str, str, str, str]:
    variable = f"<br>`{setting.variable}`" if setting.variable else ""
    bounds = f", {setting.bounds}" if setting.bounds else ""
    return (
        f"`{setting.path}`{variable}",
        f"{setting.type}{bounds}",
        f"`{as_text(setting.default)}`",
        setting.description,
    )
