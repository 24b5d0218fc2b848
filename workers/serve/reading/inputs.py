"""What other services' clients write for a text or an image, read into one form.

The conventions of ``POST /v1/embeddings``:

| An item of ``input`` | Who writes it |
|---|---|
| ``"data:image/…;base64,…"``, or another address of an image | LiteLLM, infinity |
| a text; an address of an image where ``modality`` is ``image`` | OpenAI, infinity |
| ``{"image": address or base64}``, ``{"text": …}`` | Jina |
| ``{"type": "image_url", "image_url": …}``, ``{"type": "text", "text": …}`` | OpenAI |
| ``{"type": "image_base64", "image_base64": …}`` | Voyage |
| ``{"content": [part]}``; Voyage names the list ``inputs`` | Cohere, Voyage |
| ``messages``, one conversation or a list of them; conversations in ``input`` | vLLM |
| token ids: refused, because only the text's author has the text | LangChain by default |

CLIP has one vector for a text and one for an image, and none for both together. So one item is one
text or one image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.records import JsonValue
from workers.serve.errors import ApiError
from workers.serve.images import Given
from workers.serve.reading.sources import given_of

Modality = Literal["text", "image"]

ADDRESSES = ("data:", "s3://", "https://", "http://")
"""How a text begins that names an image. ``http://`` is refused later, with what to write."""

_CONTENTS = ("text", "image", "image_url", "image_base64", "content")
_PARTS = (
    'write a text, a data URI, {"image": …}, {"text": …}, '
    'or {"type": "image_url", "image_url": {"url": …}}'
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a request."""

    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One text or image. ``param`` is its place in the request, such as ``input[3]``."""

    param: str
    content: Text | Given


@dataclass(frozen=True, slots=True)
class Item:
    """What gets one embedding, or what is wrong with it. ``param`` is its place in the request."""

    param: str
    content: Text | Given | ApiError


def names_image(text: str) -> bool:
    """Whether a text is an address of an image and nothing else. A sentence may begin with one."""
    start = text[:8].lower()
    if not start.startswith(ADDRESSES):
        return False
    return start.startswith("data:") or not any(map(str.isspace, text))


def read_items(
    written: JsonValue, param: str, modality: Modality | None = None
) -> tuple[Item, ...]:
    """The items of ``input``, of Voyage's ``inputs``, or of Hugging Face's.

    Raises:
        ApiError: 400: there are no items, or they are token ids.
    """
    if not isinstance(written, list):
        return (_item(written, param, modality),)
    if not written:
        raise ApiError(400, "empty_input", f"{param} is empty; write an item", param=param)
    if any(_is_token_ids(each) for each in (written, *written)):
        raise ApiError(
            400,
            "token_ids",
            f"{param} has token ids, which only OpenAI's models read; send the texts themselves "
            "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            param=param,
        )
    return tuple(_item(each, f"{param}[{place}]", modality) for place, each in enumerate(written))


def read_messages(messages: JsonValue, param: str = "messages") -> tuple[Item, ...]:
    """The items of vLLM's ``messages``: one for a conversation.

    Raises:
        ApiError: 400: these are no messages.
    """
    if not isinstance(messages, list) or not messages:
        raise ApiError(
            400, "invalid_input", f"{param} is no list of messages; write one", param=param
        )
    if all(isinstance(each, list) for each in messages):
        return read_items(messages, param)
    return (_item(messages, param, None),)


def read_parts(written: JsonValue, param: str) -> tuple[Part, ...]:
    """All texts and images of one input, whatever encloses them.

    Raises:
        ApiError: 400: something is neither.
    """
    return tuple(_parts(written, param, None))


def texts_of(items: Sequence[Item]) -> list[str]:
    """The texts among the items, in order."""
    return [each.content.text for each in items if isinstance(each.content, Text)]


def _item(written: JsonValue, param: str, modality: Modality | None) -> Item:
    try:
        return Item(param, _single(list(_parts(written, param, modality)), param))
    except ApiError as wrong:
        return Item(param, wrong)


def _single(parts: list[Part], param: str) -> Text | Given:
    if len(parts) != 1:
        raise ApiError(
            400,
            "several_parts",
            f"{param} has {len(parts)} parts, and the model embeds one text or one image; "
            "write each as an item of its own",
            param=param,
        )
    content = parts[0].content
    if isinstance(content, Text) and not content.text.strip():
        raise ApiError(400, "empty_input", f"{param} is an empty text; write one", param=param)
    return content


def _parts(written: JsonValue, param: str, modality: Modality | None) -> Iterator[Part]:
    match written:
        case str():
            yield Part(param, _text_or_image(written, param, modality))
        case list():  # the parts of a message, or a conversation
            for place, each in enumerate(written):
                yield from _parts(each, f"{param}[{place}]", modality)
        case dict():
            keys = [key for key in _CONTENTS if written.get(key) is not None]
            if not keys:
                raise _unknown(param, f"has none of {', '.join(_CONTENTS)}")
            for key in keys:
                yield from _keyed(key, written[key], param, modality)
        case _:
            raise _unknown(param, "is neither a text nor a part")


def _keyed(key: str, value: JsonValue, param: str, modality: Modality | None) -> Iterator[Part]:
    if key == "content":
        yield from _parts(value, f"{param}.content", modality)
        return
    if isinstance(value, dict):
        value = value.get("url")
    if not isinstance(value, str):
        raise _unknown(param, f"has no text in {key}")
    yield Part(param, _text_or_image(value, param, "text" if key == "text" else "image"))


def _text_or_image(text: str, param: str, modality: Modality | None) -> Text | Given:
    if modality == "image" or (modality is None and names_image(text)):
        return given_of(text, param)
    return Text(text)


def _unknown(param: str, what: str) -> ApiError:
    return ApiError(400, "invalid_input", f"{param} {what}; {_PARTS}", param=param)


def _is_token_ids(value: JsonValue) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)
