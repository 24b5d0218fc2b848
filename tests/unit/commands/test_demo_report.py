"""The report is one page that loads nothing, and shows hostile input as text."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from pipeline.errors import CODES
from workers.demo.closing import print_summary
from workers.demo.odd_images import odd_images
from workers.demo.report import (
    ClassifiedRow,
    DeadLetterRow,
    Summary,
    thumbnail,
    write_report,
    write_summary,
)

HOSTILE = "\"><script>alert('key')</script><img src=x onerror=alert(1)>&amp;"
VOID = {"meta", "img", "input", "br"}
SUMMARY = Summary(
    references=5,
    classified=2,
    skipped=1,
    dead_letters={"decode.truncated": 1, "reference.not_json": 1},
    lost=0,
    duplicated=0,
    accuracy=0.5,
    images_per_second=41.24,
    delivery="exactly_once",
    versions={"clipstream": "1.2.3", "kafka": "4.3.0"},
)
RIGHT = ClassifiedRow(
    subject="s3://demo/right.jpg",
    via="native JSON",
    truth="red circle",
    scores=[("red circle", 0.91), ("red ring", 0.06), ("orange circle", 0.02), ("red star", 0.01)],
    decision="reject",
    thumbnail=None,
)
WRONG = ClassifiedRow(
    subject="s3://demo/wrong.jpg",
    via="CloudEvents",
    truth="blue star",
    scores=[("blue cross", 0.7), ("blue star", 0.3)],
    decision="tag",
    thumbnail=None,
)
TRUNCATED = DeadLetterRow(
    "s3://demo/half.jpg", "native JSON", "decode.truncated", "half.jpg: ends at byte 512"
)


class Page(HTMLParser):
    """Counts what a browser would act upon, and checks that tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def classes(self, tag: str) -> list[str]:
        return [str(attributes.get("class")) for name, attributes in self.tags if name == tag]


def page(
    tmp_path: Path,
    classified: Sequence[ClassifiedRow] = (RIGHT, WRONG),
    dead_letters: Sequence[DeadLetterRow] = (TRUNCATED,),
    summary: Summary = SUMMARY,
) -> Page:
    path = tmp_path / "report.html"
    write_report(path, summary, classified, dead_letters)
    return Page(path.read_text(encoding="utf-8"))


def test_the_figures_are_shown(tmp_path: Path) -> None:
    text = page(tmp_path).text
    for shown in ("5 references", "2 classified", "2 dead-lettered", "1 skipped", "50.0%", "41.2"):
        assert shown in text
    assert "clipstream 1.2.3 · kafka 4.3.0" in text
    assert "exactly_once" in text


def test_a_full_account_is_told_from_a_gap(tmp_path: Path) -> None:
    assert "has exactly one outcome" in page(tmp_path).text
    # As many outcomes as references, and yet not one each.
    wrong = replace(SUMMARY, lost=1, duplicated=1)
    text = page(tmp_path, summary=wrong).text
    assert "5 references do not have one outcome each: 1 lost, 1 duplicated" in text
    assert "exactly one outcome" not in text


@pytest.mark.parametrize(
    ("lost", "duplicated", "verdict"),
    [
        (0, 0, "each has exactly one outcome"),
        (1, 1, "NOT one outcome each: 1 lost, 1 duplicated"),
        (0, 2, "NOT one outcome each: 0 lost, 2 duplicated"),
    ],
)
def test_the_printed_verdict_is_of_single_references(
    lost: int, duplicated: int, verdict: str, tmp_path: Path
) -> None:
    printed = io.StringIO()
    summary = replace(SUMMARY, lost=lost, duplicated=duplicated)
    print_summary(Console(file=printed, width=200), summary, tmp_path / "report.html")
    assert verdict in printed.getvalue()
    assert summary.complete is (verdict == "each has exactly one outcome")


def test_without_a_known_truth_no_accuracy_is_claimed(tmp_path: Path) -> None:
    unknown = replace(SUMMARY, accuracy=None)
    assert "\N{EN DASH} accuracy" in page(tmp_path, summary=unknown).text


def test_wrong_labels_are_marked_with_the_truth_and_come_first(tmp_path: Path) -> None:
    shown = page(tmp_path)
    assert shown.classes("article") == ["image wrong", "image"]
    assert "it shows: blue star" in shown.text
    assert "it shows: red circle" not in shown.text


def test_the_best_three_scores_have_bars_of_their_length(tmp_path: Path) -> None:
    shown = page(tmp_path, classified=[RIGHT])
    bars = [attributes["style"] for tag, attributes in shown.tags if tag == "i"]
    assert bars == ["width: 91.0%", "width: 6.0%", "width: 2.0%"]
    assert "red star" not in shown.text


def test_dead_letters_are_grouped_by_code_with_meaning_and_remedy(tmp_path: Path) -> None:
    other = DeadLetterRow("s3://demo/b.jpg", "native JSON", "decode.truncated", "b.jpg: ends early")
    text = page(tmp_path, dead_letters=[TRUNCATED, other]).text
    assert text.count("decode.truncated 2 the file ends before its image does") == 1
    assert CODES["decode.truncated"].remedy in text
    assert "b.jpg: ends early" in text
    assert "half.jpg: ends at byte 512" in text


def test_names_in_a_meaning_are_set_as_code(tmp_path: Path) -> None:
    bomb = DeadLetterRow("k", "native JSON", "decode.too_large", "3,600 megapixels")
    text = page(tmp_path, dead_letters=[bomb]).text
    assert "more pixels than decode.max_megapixels" in text
    assert "`" not in text


def test_a_code_unknown_to_this_version_is_shown_all_the_same(tmp_path: Path) -> None:
    later = DeadLetterRow("k", "native JSON", "decode.of_the_future", "what happened")
    text = page(tmp_path, dead_letters=[later]).text
    assert "decode.of_the_future" in text
    assert "what happened" in text


def test_hostile_keys_messages_and_labels_are_text(tmp_path: Path) -> None:
    classified = ClassifiedRow(HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, 1.0)], HOSTILE, None, HOSTILE)
    dead = DeadLetterRow(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    summary = Summary(1, 1, 0, {HOSTILE: 1}, 0, 0, 1.0, 1.0, HOSTILE, {HOSTILE: HOSTILE})
    shown = page(tmp_path, [classified], [dead], summary)
    assert "script" not in [tag for tag, _ in shown.tags]
    assert "img" not in [tag for tag, _ in shown.tags]
    assert not any(name.startswith("on") for _, attributes in shown.tags for name in attributes)
    # 3 in the head, 5 of the dead letter, 1 message format, 4 on the card.
    assert shown.text.count(HOSTILE) == 13


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    image = ClassifiedRow("k", "v", None, [("a", 1.0)], "tag", "data:image/webp;base64,AAAA")
    shown = page(tmp_path, classified=[image])
    sources = [attributes["src"] for _, attributes in shown.tags if "src" in attributes]
    assert sources == ["data:image/webp;base64,AAAA"]
    assert {"link", "script", "iframe", "object"}.isdisjoint(tag for tag, _ in shown.tags)
    assert "url(" not in (tmp_path / "report.html").read_text()
    policies = [
        str(attributes["content"])
        for tag, attributes in shown.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert [policy.split(";")[0] for policy in policies] == ["default-src 'none'"]


def test_a_run_without_outcomes_has_a_page(tmp_path: Path) -> None:
    empty = Summary(0, 0, 0, {}, 0, 0, None, 0.0, "exactly_once")
    text = page(tmp_path, [], [], empty).text
    assert "0 references" in text
    assert "Dead letters" not in text
    assert "Classified images" not in text


def test_the_summary_file_has_the_promised_keys(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary(path, SUMMARY)
    assert json.loads(path.read_text()) == {
        "references": 5,
        "classified": 2,
        "skipped": 1,
        "dead_letters": {"decode.truncated": 1, "reference.not_json": 1},
        "lost": 0,
        "duplicated": 0,
        "accuracy": 0.5,
        "images_per_second": 41.24,
        "delivery": "exactly_once",
        "versions": {"clipstream": "1.2.3", "kafka": "4.3.0"},
    }


def test_thumbnails_are_small_squares_whatever_the_file() -> None:
    for image in odd_images(1):
        uri = thumbnail(image.body)
        if image.truth is None:
            assert uri is None, image.key
            continue
        assert uri is not None
        kind, _, encoded = uri.partition(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as small:
            assert small.size == (160, 160), image.key


@pytest.mark.parametrize(("body", "expected"), [(b"", None), (b"GIF89a", None)])
def test_what_is_no_image_has_no_thumbnail(body: bytes, expected: None) -> None:
    assert thumbnail(body) is expected
