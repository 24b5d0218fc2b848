"""The generated schema of the chart's values, and the GitOps examples that use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
import yaml

from deploy.dev.cluster import supplies
from deploy.dev.reference.chart import readme, schema, values
from pipeline.adapters.label_files import load_label_sets
from tests.rigs.kubernetes.argo_cd import APPLICATIONS
from tests.rigs.root import ROOT
from workers.embedded.s3 import S3Server
from workers.settings.loading import CATALOGUE

DOCUMENT = schema.document()
VALIDATOR = jsonschema.Draft7Validator(DOCUMENT)
EXAMPLES = sorted((ROOT / "helm/clipstream/ci").glob("*-values.yaml"))
KUBERNETES = ROOT / "deploy/examples/kubernetes"


def problems(given: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(given)]


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that describes a mapping, with its place."""
    if isinstance(node, dict):
        if node.get("type") == "object" or "properties" in node:
            yield path, node
        for name, each in node.items():
            if name != "enum":
                yield from objects(each, f"{path}/{name}")
    elif isinstance(node, list):
        for index, each in enumerate(node):
            yield from objects(each, f"{path}/{index}")


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(DOCUMENT)


def test_the_schema_is_closed_at_every_level() -> None:
    """But for what is passed to Kubernetes as it is, whose own schema closes it."""
    open_ = {
        path
        for path, node in objects(DOCUMENT)
        if "properties" in node and node.get("additionalProperties") is not False
    }
    assert open_ == set()
    passed_on = {
        path: node
        for path, node in objects(DOCUMENT)
        if "properties" not in node and "additionalProperties" not in node
    }
    for path, node in passed_on.items():
        assert node.keys() <= {"type", "description"}, path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit(path: Path) -> None:
    assert problems(yaml.safe_load(path.read_text())) == []


def test_the_defaults_fit() -> None:
    assert problems(yaml.safe_load(values.VALUES.read_text())) == []


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"workers": {"replica": 2}}, "replica"),
        ({"settings": {"kafka": {"grup": "live"}}}, "grup"),
        ({"settings": {"workers": {"count": "two"}}}, "two"),
        ({"groups": [{"name": "l4", "gpus": 1}]}, "gpus"),
        ({"groups": [{"replicas": 1}]}, "name"),
        ({"groups": [{"name": "A B"}]}, "A B"),
        ({"backfill": {"jobs": [{"name": "a", "sources": []}]}}, "sources"),
        ({"mode": "docker"}, "docker"),
        ({"image": {"digest": "latest"}}, "latest"),
        ({"keda": {"minReplicas": 0}}, "minimum"),
        ({"secrets": {"kafka": {"password": "mine"}}}, "password"),
        ({"workers": {"resources": {"limit": {}}}}, "limit"),
        ({"extraEnv": [{"value": "without a name"}]}, "name"),
        ({"serve": {"settings": {"serve": {"ports": 1}}}}, "ports"),
    ],
)
def test_nonsense_is_refused(given: Any, word: str) -> None:
    (problem,) = problems(given)
    assert word in problem


def test_a_secret_has_no_place_among_the_values() -> None:
    secret = [setting.path for setting in CATALOGUE.settings.values() if setting.secret]
    assert "kafka.security.password" in secret
    for path in secret:
        given: Any = "mine"
        for name in reversed(path.split(".")):
            given = {name: given}
        assert problems({"settings": given}), path


def test_the_settings_are_the_products_own() -> None:
    assert problems({"settings": {"delivery": {"start": "2026-01-31T18:00:00Z"}}}) == []
    assert problems({"settings": {"workers": {"gpus_per_worker": 0.33}}}) == []
    assert problems({"settings": {"stores": [{"name": "eu", "allowed_buckets": ["a"]}]}}) == []
    assert problems({"settings": {"stores": [{"name": "eu", "bucket": "a"}]}})


def test_every_value_stands_in_the_page() -> None:
    page = readme.render()
    leaves = [value for value in values.read().values() if not value.section]
    assert all(f"| `{leaf.path}` |" in page for leaf in leaves)


def read(text: str, folder: Path) -> dict[str, values.Value]:
    file = folder / "values.yaml"
    file.write_text(text)
    return values.read(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("replicas: 1\n", "replicas: write a comment above it"),
        ("# Of nothing known.\n# @type nonsense\nlabels: {}\n", "there is no type nonsense"),
        ("# Which?\nlabels: {}\n", "say its @type"),
        ("# Which?\nlimit: null\n", "say its @type"),
    ],
)
def test_a_value_that_says_too_little_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read(text, tmp_path)


def test_a_comment_belongs_to_the_key_below_it(tmp_path: Path) -> None:
    text = "# Of no key.\n\npods:\n  # Pods,\n  # in all.\n  # @schema {minimum: 1}\n  count: 2\n"
    found = read(text, tmp_path)
    assert found["pods"].section
    assert found["pods"].description == ""
    assert found["pods.count"].description == "Pods, in all."
    assert found["pods.count"].keywords == {"minimum": 1}


def test_the_values_of_the_page_fit() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        assert problems(yaml.safe_load(block)) == []


@pytest.mark.parametrize(
    "text",
    [
        *(path.read_text() for path in EXAMPLES),
        *re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/kubernetes.md").read_text(), re.DOTALL),
    ],
)
def test_label_sets_of_examples_are_as_the_product_reads_them(text: str, tmp_path: Path) -> None:
    for name, content in yaml.safe_load(text).get("labelSets", {}).get("files", {}).items():
        (tmp_path / f"{name}.yaml").write_text(content)
        (found,) = load_label_sets([tmp_path])
        assert found.name == name


def test_the_developers_cluster_has_values_that_fit() -> None:
    server = SimpleNamespace(endpoint="http://10.88.77.1:9000", region="us-east-1")
    given = supplies.chart_values("10.88.77.1:9092", cast("S3Server", server))
    assert problems(given) == []


def test_the_gitops_examples_have_valid_values() -> None:
    assert problems(APPLICATIONS["clipstream"]["spec"]["source"]["helm"]["valuesObject"]) == []
    *_, release = yaml.safe_load_all((KUBERNETES / "flux-helmrelease.yaml").read_text())
    assert problems(release["spec"]["values"]) == []
