"""docs/input-formats.md says what is true: its examples are read, its lists are complete."""

from __future__ import annotations

import re

import pytest
import yaml

from pipeline.errors import CODES
from pipeline.formats import FORMATS, S3_DIALECTS
from pipeline.records import ImageRef, Partition, Position, Record
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import RoutePolicy, Router
from tests.rigs.root import ROOT

PAGE = (ROOT / "docs" / "input-formats.md").read_text()
LOADED = ["moderation", "objects"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", blocks("json"))
def test_every_example_of_the_page_names_one_image(document: str) -> None:
    record = Record(Position(Partition("uploads", 0), 0), 0, None, document.encode())
    [entry] = parse(record, ReferencesPolicy(), Router([], LOADED))
    assert isinstance(entry.content, ImageRef), entry


def test_every_format_has_an_example() -> None:
    assert len(blocks("json")) == 6
    assert [form.name for form in FORMATS] == [
        *("S3 event notification", "EventBridge S3 event", "SNS confirmation", "native reference")
    ]
    assert all(f"`eventSource: {dialect.event_source}`" in PAGE for dialect in S3_DIALECTS)


def test_the_page_and_the_readme_count_the_same_formats() -> None:
    table = PAGE.partition("| Format |")[2].partition("\n\n")[0].splitlines()[2:]
    envelopes = [row for row in table if row.startswith("| Envelope: ")]
    assert (len(table) - len(envelopes), len(envelopes)) == (6, 2)
    assert "The first six are formats, the last two are envelopes." in PAGE
    readme = (ROOT / "README.md").read_text()
    assert "6 formats, " in readme
    assert "2 envelopes " in readme


def test_the_routes_of_the_page_are_valid_settings() -> None:
    [document] = blocks("yaml")
    routes = [RoutePolicy.model_validate(route) for route in yaml.safe_load(document)["routes"]]
    Router(routes, LOADED)


def test_the_page_lists_every_skip_reason_and_every_code() -> None:
    skipped = PAGE.split("## What is skipped")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", skipped, re.MULTILINE) == [str(name) for name in SkipReason]
    missing = [code for code in CODES if code.startswith("reference.") and f"`{code}`" not in PAGE]
    assert not missing
