"""README.md of the chart: every value with its default and its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from deploy.dev.reference.chart.values import Value, read, type_of
from deploy.dev.reference.markdown import NOTICE, table

_INTRODUCTION = """\
Runs Clipstream on Kubernetes: the stream, the HTTP server, and backfills.
[Run it on Kubernetes](../../docs/kubernetes.md) says how. [ci](ci) has complete examples: CPU, one
GPU a worker, a shared GPU, MIG, KubeRay, spot nodes, OpenShift, a registry of your own, MSK with
IAM, MinIO.

```
helm install clipstream helm/clipstream -f my-values.yaml
```

`settings` takes every key of [the settings](../../docs/reference/settings.md) but secrets. Entries
of lists take the keys of another section: `groups` those of `workers`, `backfill.jobs` those of
`backfill.job`. Unknown keys are refused.
"""


def render() -> str:
    """The page."""
    return f"# Chart clipstream\n\n{NOTICE}\n\n{_INTRODUCTION}" + "".join(_sections(read()))


def _sections(values: Mapping[str, Value]) -> Iterator[str]:
    leaves = [value for value in values.values() if not value.section]
    for name, group in groupby(leaves, key=lambda value: value.path.partition(".")[0]):
        rows = [_row(value) for value in group]
        about = values[name].description if values[name].section else ""
        yield f"\n## {name}\n\n" + (f"{about}\n\n" if about else "") + table(_HEAD, rows)


_HEAD: Sequence[str] = ("Value", "Type", "Default", "Meaning")


def _row(value: Value) -> tuple[str, str, str, str]:
    return (
        f"`{value.path}`",
        _type(value),
        f"`{json.dumps(value.default, ensure_ascii=False)}`",
        value.description,
    )


_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "map",
    "array": "list",
}


def _type(value: Value) -> str:
    """The type in words."""
    if value.items:
        return f"list of entries like `{value.items}`"
    if value.type:
        return value.type
    if choices := value.keywords.get("enum"):
        return " or ".join(f"`{choice}`" for choice in choices)
    types = value.keywords.get("type") or type_of(value.default)
    names = types if isinstance(types, list) else [types]
    bounds = [
        f"{words} {value.keywords[keyword]}"
        for keyword, words in (("minimum", "at least"), ("maximum", "at most"))
        if keyword in value.keywords
    ]
    return ", ".join([" or ".join(_NAMES[name] for name in names), *bounds])
