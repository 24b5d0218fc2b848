"""The results of a demo run: one HTML page to read, one JSON file to compute with."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageOps

from pipeline.errors import CODES

_TEMPLATE = "report.html.jinja"
_THUMBNAIL_PX = 160
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run.

    ``references`` counts published references. ``skipped`` counts entries without anything to
    classify, and ``dead_letters`` the rejected ones by code. ``lost`` references have no outcome.
    ``duplicated`` counts outcomes beyond the first of a reference. ``accuracy`` (0 to 1) is the
    share of classified images whose label is their truth, or None if no truth is known.
    ``versions`` names the software.
    """

    references: int
    classified: int
    skipped: int
    dead_letters: Mapping[str, int]
    lost: int
    duplicated: int
    accuracy: float | None
    images_per_second: float
    delivery: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def dead_lettered(self) -> int:
        return sum(self.dead_letters.values())

    @property
    def complete(self) -> bool:
        """Whether each reference has exactly one outcome."""
        return self.lost == self.duplicated == 0


@dataclass(frozen=True, slots=True)
class ClassifiedRow:
    """A classified image. ``scores`` are (label, probability), best first, at least one.
    ``thumbnail`` is a data URI. ``via`` names the message format of its reference."""

    subject: str
    via: str
    truth: str | None
    scores: Sequence[tuple[str, float]]
    decision: str
    thumbnail: str | None
    note: str = ""

    @property
    def label(self) -> str:
        return self.scores[0][0]

    @property
    def wrong(self) -> bool:
        return self.truth is not None and self.label != self.truth


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A reference, or a record without one, that could not be classified."""

    subject: str
    via: str
    code: str
    message: str
    note: str = ""


def thumbnail(body: bytes) -> str | None:
    """The central square that a model sees of an image, small, as a data URI. None if Pillow cannot
    read ``body``. Only for the demo's own images, because there is no sandbox around it."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            image.draft("RGB", (2 * _THUMBNAIL_PX, 2 * _THUMBNAIL_PX))
            upright = ImageOps.exif_transpose(image).convert("RGBA")
            small = ImageOps.fit(upright, (_THUMBNAIL_PX, _THUMBNAIL_PX))
    # SyntaxError is Pillow's word for a damaged PNG chunk.
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None
    with io.BytesIO() as file:
        small.save(file, "WEBP", quality=_THUMBNAIL_QUALITY)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def write_summary(path: Path, summary: Summary) -> None:
    """Write ``summary`` as JSON; keys are its fields."""
    path.write_text(json.dumps(dataclasses.asdict(summary), indent=2) + "\n", encoding="utf-8")


def write_report(
    path: Path,
    summary: Summary,
    classified: Sequence[ClassifiedRow],
    dead_letters: Sequence[DeadLetterRow],
) -> None:
    """Write one self-contained HTML page. It loads nothing, runs no script, and escapes every
    value, because senders choose object keys and messages."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    page = environment.get_template(_TEMPLATE).render(
        summary=summary,
        # The interesting rows come first: mistakes, then oddities, then the rest as sent.
        classified=sorted(classified, key=lambda row: (not row.wrong, not row.note)),
        wrong=sum(row.wrong for row in classified),
        noted=sum(bool(row.note) for row in classified),
        dead_letters=_by_code(dead_letters),
        codes=CODES,
        formats=_by_format(classified, dead_letters),
        labels=len({row.truth for row in classified if row.truth is not None}),
    )
    path.write_text(page, encoding="utf-8")


def _prose(text: str) -> Markup:
    """Escaped text, with `backquoted` names marked as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(text.split("`"))
    )


def _by_code(rows: Sequence[DeadLetterRow]) -> list[tuple[str, list[DeadLetterRow]]]:
    """Rows of each code, ordered by code."""
    codes = sorted({row.code for row in rows})
    return [(code, [row for row in rows if row.code == code]) for code in codes]


def _by_format(
    classified: Sequence[ClassifiedRow], dead_letters: Sequence[DeadLetterRow]
) -> list[tuple[str, int, int]]:
    """(message format, classified, dead-lettered), most used first."""
    good = Counter(row.via for row in classified)
    bad = Counter(row.via for row in dead_letters)
    return sorted(
        ((via, good[via], bad[via]) for via in good | bad),
        key=lambda line: (-line[1] - line[2], line[0]),
    )
