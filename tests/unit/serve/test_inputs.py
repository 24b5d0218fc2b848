"""What other services' clients write for texts and images is read alike."""

from __future__ import annotations

from typing import Any

import pybase64
import pytest

from pipeline.records import ImageRef, JsonValue
from workers.serve.errors import ApiError
from workers.serve.images import Inline, Located
from workers.serve.reading.inputs import Item, Modality, Text, read_items, read_messages, read_parts

BYTES = b"\xff\xd8 image"
BASE64 = pybase64.b64encode(BYTES).decode()
DATA = f"data:image/jpeg;base64,{BASE64}"
OBJECT = "s3://photos/2026/1.jpg"
IMAGE_URL: JsonValue = {"type": "image_url", "image_url": {"url": DATA}}


def read(content: object) -> object:
    """What was read, in words of this test: a text, bytes, or an object's address."""
    match content:
        case Text():
            return content.text
        case Inline():
            return content.body
        case Located(ImageRef() as ref):
            return ref.uri
        case ApiError():
            return content.code
    raise AssertionError(content)


def contents(items: tuple[Item, ...]) -> list[object]:
    return [read(each.content) for each in items]


@pytest.mark.parametrize(
    ("written", "modality", "meant"),
    [
        ("a cat", None, ["a cat"]),
        (["a cat", "a dog"], None, ["a cat", "a dog"]),
        (DATA, None, [BYTES]),
        (["a cat", DATA, OBJECT], None, ["a cat", BYTES, OBJECT]),
        (DATA.replace("data:image", "DATA:image"), None, [BYTES]),
        ("s3://photos is an address", None, ["s3://photos is an address"]),
        (OBJECT, "text", [OBJECT]),
        ([OBJECT, BASE64], "image", [OBJECT, BYTES]),
        ({"image": DATA}, None, [BYTES]),
        ([{"image": BASE64}, {"image": OBJECT}, {"text": DATA}], None, [BYTES, OBJECT, DATA]),
        ([IMAGE_URL, {"type": "text", "text": "a cat"}], None, [BYTES, "a cat"]),
        ([{"type": "image_url", "image_url": DATA}], None, [BYTES]),
        ([{"type": "image_base64", "image_base64": DATA}], None, [BYTES]),
        ([{"content": [IMAGE_URL]}, {"content": [{"text": "a cat"}]}], None, [BYTES, "a cat"]),
        ([{"role": "user", "content": "a cat"}], None, ["a cat"]),
        ([[{"role": "user", "content": [IMAGE_URL]}], [{"content": "a"}]], None, [BYTES, "a"]),
    ],
    ids=str,
)
def test_each_convention_of_items_is_read(
    written: Any, modality: Modality | None, meant: list[object]
) -> None:
    assert contents(read_items(written, "input", modality)) == meant


@pytest.mark.parametrize(
    ("messages", "meant"),
    [
        ([{"role": "user", "content": [IMAGE_URL]}], [BYTES]),
        ([{"role": "user", "content": "a cat"}], ["a cat"]),
        (
            [[{"role": "user", "content": "a"}], [{"role": "user", "content": [IMAGE_URL]}]],
            ["a", BYTES],
        ),
    ],
)
def test_one_conversation_is_one_item(messages: Any, meant: list[object]) -> None:
    assert contents(read_messages(messages)) == meant


@pytest.mark.parametrize("written", [[1, 2], [[1, 2], [3]], ["a cat", [7]]])
def test_token_ids_are_refused_with_what_helps(written: Any) -> None:
    with pytest.raises(ApiError, match="check_embedding_ctx_length=False") as refused:
        read_items(written, "input")
    assert (refused.value.status, refused.value.code) == (400, "token_ids")


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ({"image": DATA, "text": "a cat"}, "several_parts"),
        ({"content": [IMAGE_URL, {"type": "text", "text": "a cat"}]}, "several_parts"),
        ({"content": []}, "several_parts"),
        ({"type": "video_url", "video_url": {"url": DATA}}, "invalid_input"),
        ({"type": "image_url", "image_url": {"detail": "low"}}, "invalid_input"),
        ({"image": 3}, "invalid_input"),
        (3, "invalid_input"),
        (None, "invalid_input"),
        ("", "empty_input"),
        ({"text": "  "}, "empty_input"),
        ({"image": "no base64!"}, "invalid_image"),
        ("http://example.org/1.jpg", "invalid_image"),
    ],
    ids=str,
)
def test_a_wrong_item_says_what_is_wrong_and_where_beside_right_ones(
    written: Any, code: str
) -> None:
    first, wrong, last = read_items(["a cat", written, "a dog"], "input")
    assert isinstance(wrong.content, ApiError)
    assert (wrong.param, wrong.content.status, wrong.content.code) == ("input[1]", 400, code)
    assert str(wrong.content.param).startswith("input[1]")
    assert contents((first, last)) == ["a cat", "a dog"]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ApiError, match="input is empty"):
        read_items([], "input")


@pytest.mark.parametrize("messages", [[], "a cat", None, {"role": "user"}])
def test_what_is_no_list_of_messages_is_refused(messages: Any) -> None:
    with pytest.raises(ApiError, match="no list of messages"):
        read_messages(messages)


def test_the_parts_of_one_input_keep_their_places() -> None:
    parts = read_parts([{"type": "text", "text": "a"}, IMAGE_URL, OBJECT], "input")
    assert [(each.param, read(each.content)) for each in parts] == [
        ("input[0]", "a"),
        ("input[1]", BYTES),
        ("input[2]", OBJECT),
    ]
