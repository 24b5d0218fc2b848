"""Writes pages that hold everything that they show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGES = Path(__file__).with_name("pages")


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Write the page of a template. It loads nothing, runs no script, and escapes every value,
    because senders choose the names of images."""
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = environment.get_template(template).render(values, made_at=made_at)
    path.write_text(page, encoding="utf-8")
