"""The published schemas: what the code says, what stands in the repository, what was released."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.events.schemas import schemas
from tests.rigs.root import ROOT

FOLDER = ROOT / "docs" / "schemas"
RELEASED = {path.stem: path for path in sorted((FOLDER / "released").glob("*.json"))}

Schema = dict[str, Any]

ANNOTATIONS = {"description", "title", "$id", "$schema", "examples"}


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What a consumer of ``old`` could trip over in ``new``: everything but new optional fields
    and other words in annotations."""
    yield from _breaks(_inlined(old, old), _inlined(new, new), "")


def _breaks(old: Any, new: Any, path: str) -> Iterator[str]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield f"{path}: {old!r} became {new!r}"
        return
    for word in sorted((old.keys() | new.keys()) - ANNOTATIONS - {"properties", "required"}):
        if old.get(word) != new.get(word):
            if word == "items":
                yield from _breaks(old.get(word), new.get(word), f"{path}[]")
            else:
                yield f"{path}: {word} {old.get(word)!r} became {new.get(word)!r}"
    if sorted(old.get("required", ())) != sorted(new.get("required", ())):
        yield f"{path}: required {old.get('required')} became {new.get('required')}"
    for name, field in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{path}.{name}: is gone"
        else:
            yield from _breaks(field, new["properties"][name], f"{path}.{name}")


def _inlined(node: Any, root: Mapping[str, Any]) -> Any:
    """The schema without annotations, its references to definitions replaced by these."""
    if isinstance(node, list):
        return [_inlined(each, root) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(root["$defs"][node["$ref"].removeprefix("#/$defs/")], root)
    properties = {name: _inlined(field, root) for name, field in node.get("properties", {}).items()}
    rest = {
        word: _inlined(value, root)
        for word, value in node.items()
        if word not in ANNOTATIONS | {"$defs", "properties"}
    }
    return rest | ({"properties": properties} if "properties" in node else {})


def test_every_schema_is_valid_and_says_its_dialect_and_name() -> None:
    documents = schemas()
    for name, document in documents.items():
        Draft202012Validator.check_schema(document)
        kind, _, version = name.rpartition(".")
        assert document["$id"] == f"urn:clipstream:schema:{kind}:{version}"
        assert document["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert len({document["$id"] for document in documents.values()}) == len(documents)


def test_every_field_and_header_is_described() -> None:
    for name, document in schemas().items():
        for part in (document, *document.get("$defs", {}).values()):
            assert part["description"], name
            for field, schema in part["properties"].items():
                target = schema if "$ref" not in schema else {"description": "its definition's"}
                assert target.get("description"), f"{name}: {field}"


def test_no_schema_forbids_unknown_fields() -> None:
    assert 'additionalProperties": false' not in json.dumps(schemas())


def test_the_folder_holds_the_published_schemas_and_no_others() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == schemas().keys()


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_schema_is_only_added_to(name: str) -> None:
    released = json.loads(RELEASED[name].read_text(encoding="utf-8"))
    assert name in schemas(), "a released type is published until its end was announced"
    assert list(breaks(released, schemas()[name])) == []


def test_there_are_released_schemas_to_compare_with() -> None:
    assert "classification.v1" in RELEASED


def _edited(edit: Callable[[Schema], Any]) -> Schema:
    document = copy.deepcopy(schemas()["classification.v1"])
    edit(document)
    return document


def _image(document: Schema) -> Schema:
    image: Schema = document["$defs"]["ImageValue"]
    return image


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["properties"].pop("model"),
        lambda d: _image(d)["properties"].pop("frames"),
        lambda d: _image(d)["properties"]["frames"].update(type="string"),
        lambda d: _image(d)["properties"]["frames"].update(minimum=1),
        lambda d: _image(d)["required"].remove("frames"),
        lambda d: (
            _image(d)["properties"].update(new={"type": "string"})
            or _image(d)["required"].append("new")
        ),
        lambda d: _image(d).update(additionalProperties=False),
        lambda d: d["properties"]["record_timestamp"]["anyOf"].pop(),
        lambda d: d["properties"]["results"].update(items={"type": "string"}),
        lambda d: d["$defs"]["ScoreValue"]["properties"].pop("similarity"),
        lambda d: d["$defs"]["ScoreValue"]["properties"]["label"].update(enum=["a"]),
    ],
)
def test_a_breaking_change_is_found(edit: Callable[[Schema], Any]) -> None:
    """The checker, checked: also deep inside definitions and lists."""
    assert list(breaks(schemas()["classification.v1"], _edited(edit)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: None,
        lambda d: d["properties"].update(new={"type": "string"}),
        lambda d: d["$defs"]["ScoreValue"]["properties"].update(new={"type": "string"}),
        lambda d: d["properties"]["model"].update(description="other words"),
        lambda d: _image(d)["properties"].update(title={"type": "string"}),
    ],
)
def test_an_optional_field_may_be_added(edit: Callable[[Schema], Any]) -> None:
    assert list(breaks(schemas()["classification.v1"], _edited(edit))) == []
