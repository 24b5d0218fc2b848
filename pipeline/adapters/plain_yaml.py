"""YAML whose words are texts.

PyYAML reads YAML 1.1, where ``yes``, ``no``, ``on`` and ``off`` are booleans: ``compile: on`` and a
label named ``no`` would not be what their writers meant. As in YAML 1.2 only ``true`` and ``false``
are booleans here; whoever wants one takes the words too.
"""

from __future__ import annotations

import re

import yaml

_BOOL = "tag:yaml.org,2002:bool"


class PlainLoader(yaml.SafeLoader):
    """``yaml.SafeLoader`` without the words of YAML 1.1."""


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
PlainLoader.add_implicit_resolver(
    _BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
)
