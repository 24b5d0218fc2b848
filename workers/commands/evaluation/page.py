"""Writes reports: self-contained HTML pages."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.evaluation.judging import Interval
from pipeline.evaluation.share import Share

PAGES = Path(__file__).with_name("pages")
NOTHING = "\N{EN DASH}"


def write_page(
    path: Path,
    name: str,
    values: Mapping[str, Any],
    script: str | None = None,
    folder: Path = PAGES,
) -> None:
    """Write the page of the template ``name`` of a folder. It loads nothing and escapes every
    value, because names of files may be anyone's. ``script`` names the one script that the page
    runs: its policy allows no other."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, estimate=_estimate)
    code = (folder / script).read_text(encoding="utf-8") if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    page = environment.get_template(name).render(
        values,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        script=Markup(code),  # noqa: S704 - a file of this package
        script_policy=f"'sha256-{digest}'" if script else "'none'",
    )
    path.write_text(page, encoding="utf-8")


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def _estimate(found: Share | Interval) -> Markup:
    """An estimate with its interval."""
    if found.value is None:
        return Markup("&ndash;")
    if found.low is None or found.high is None:
        return Markup("{}").format(f"{found.value:.1%}")
    return Markup("{} <small>{} to {}</small>").format(
        f"{found.value:.1%}", f"{found.low:.1%}", f"{found.high:.1%}"
    )
