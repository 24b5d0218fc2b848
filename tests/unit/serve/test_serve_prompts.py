"""Prompts of requests: embedded once, together, within bounds, and never a reason to halt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MAX_PROMPT_WORDS, MemoryEncoder
from pipeline.errors import Halt
from pipeline.records import JsonValue, Vector
from workers.serve.errors import ApiError
from workers.serve.label_sets import own_label_set
from workers.serve.prompts import AT_ONCE, MAX_CHARACTERS, Prompts
from workers.settings.serve import ServePolicy

PATIENCE_S = 30


class Texts:
    """An encoder whose calls can be held up. ``calls`` are the prompts of each."""

    def __init__(self) -> None:
        self.encoder = MemoryEncoder()
        self.calls: list[list[str]] = []
        self.begun = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.failure: Halt | None = None

    def __call__(self, prompts: Sequence[str]) -> Vector:
        self.calls.append(list(prompts))
        self.begun.set()
        assert self.free.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return self.encoder.encode_texts(prompts)


def prompts_on(texts: Texts, **policy: Any) -> Prompts:
    return Prompts(texts.encoder, texts, ServePolicy(**policy))


async def called(texts: Texts) -> None:
    """Wait for a call to begin."""
    assert await asyncio.to_thread(texts.begun.wait, PATIENCE_S)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE_S))


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread is asked for")

    monkeypatch.setattr(asyncio, "to_thread", refuse)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        await prompts.embed(["a dog"], "input")
        wanted = ["a cat", "a dog", "a cat"]
        vectors = await prompts.embed(wanted, "input")
        np.testing.assert_array_equal(vectors, texts.encoder.encode_texts(wanted))
        assert texts.calls == [["a dog"], ["a cat"]]

    run(main())


def test_a_request_that_was_seen_before_needs_neither_model_nor_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        document = own_label_set(["cat", "dog"])
        first = await prompts.embed(["a cat", "a dog"], "input")
        compiled = await prompts.compiled(document)
        calls = len(texts.calls)
        no_threads(monkeypatch)
        np.testing.assert_array_equal(await prompts.embed(["a cat", "a dog"], "input"), first)
        assert await prompts.compiled(own_label_set(["cat", "dog"])) is compiled
        assert len(texts.calls) == calls

    run(main())


def test_label_sets_with_another_content_are_not_taken_for_each_other() -> None:
    async def main() -> None:
        prompts = prompts_on(Texts())
        documents = [
            own_label_set(["cat", "dog"]),
            own_label_set(["dog", "cat"]),
            own_label_set(["cat", "dog"], {"templates": ["{}"]}),
            own_label_set([{"name": "cat", "act_threshold": 0.5}, "dog"]),
        ]
        versions = {(await prompts.compiled(document)).version for document in documents}
        assert len(versions) == len(documents)

    run(main())


def test_texts_of_requests_that_come_at_the_same_time_are_embedded_together() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        texts.free.clear()
        first = asyncio.create_task(prompts.embed(["first"], "input"))
        await called(texts)
        others = [
            asyncio.create_task(prompts.embed([f"text {number}", "shared", "first"], "input"))
            for number in range(5)
        ]
        await asyncio.sleep(0)
        texts.free.set()
        await asyncio.gather(first, *others)
        assert texts.calls[0] == ["first"]
        assert sorted(texts.calls[1]) == sorted(["shared", *(f"text {each}" for each in range(5))])
        assert len(texts.calls) == 2

    run(main())


def test_many_texts_of_one_request_do_not_hold_up_another_for_long() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        texts.free.clear()
        many = asyncio.create_task(prompts.embed([f"text {n}" for n in range(200)], "input"))
        await called(texts)
        texts.free.set()
        await many
        assert max(map(len, texts.calls)) == AT_ONCE

    run(main())


def test_texts_of_a_request_that_is_gone_are_not_embedded() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        texts.free.clear()
        running = asyncio.create_task(prompts.embed(["running"], "input"))
        await called(texts)
        gone = asyncio.create_task(prompts.embed(["gone", "shared"], "input"))
        stays = asyncio.create_task(prompts.embed(["shared"], "input"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        texts.free.set()
        await asyncio.gather(running, stays)
        assert texts.calls == [["running"], ["shared"]]

    run(main())


def test_only_the_prompts_that_were_used_last_are_kept() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts, remembered_prompts=2)
        for text in ("a", "b", "a", "c", "a", "b"):
            await prompts.embed([text], "input")
        assert texts.calls == [["a"], ["b"], ["c"], ["b"]]

    run(main())


@pytest.mark.parametrize(
    ("texts", "code", "param"),
    [
        (["word " * (MAX_PROMPT_WORDS + 1)], "prompt_too_long", "input"),
        (["fine", "word " * (MAX_PROMPT_WORDS + 1)], "prompt_too_long", "input[1]"),
        (["a" * (MAX_CHARACTERS + 1)], "prompt_too_long", "input"),
        (["fine", " "], "empty_prompt", "input[1]"),
        ([f"text {number}" for number in range(11)], "too_many_prompts", "input"),
    ],
)
def test_texts_beyond_the_bounds_are_the_callers_fault(
    texts: list[str], code: str, param: str
) -> None:
    async def main() -> None:
        encoder = Texts()
        with pytest.raises(ApiError) as caught:
            await prompts_on(encoder, max_prompts=10).embed(texts, "input")
        assert (caught.value.status, caught.value.code) == (400, code)
        assert caught.value.param == param
        assert len(caught.value.message) < 300
        assert encoder.calls == []

    run(main())


LONG = " ".join(["word"] * (MAX_PROMPT_WORDS + 1))


@pytest.mark.parametrize(
    ("document", "code", "param"),
    [
        (own_label_set(["cat", "cat"]), "invalid_labels", "labels[1].name"),
        (own_label_set(["cat"]), "invalid_labels", "labels"),
        (own_label_set(["cat", "dog"], {"decision": "independent"}), "invalid_labels", "labels[0]"),
        (
            own_label_set(["cat", "dog"], {"templates": ["no place"]}),
            "invalid_labels",
            "templates[0]",
        ),
        (
            own_label_set(["cat", {"name": "dog", "prompts": [LONG]}]),
            "prompt_too_long",
            "labels[1]",
        ),
        (own_label_set([f"label {n}" for n in range(11)]), "too_many_prompts", "labels"),
    ],
)
def test_labels_that_the_model_cannot_use_are_the_callers_fault(
    document: dict[str, JsonValue], code: str, param: str
) -> None:
    async def main() -> None:
        prompts = prompts_on(Texts(), max_prompts=10)
        with pytest.raises(ApiError) as caught:
            await prompts.compiled(document)
        assert (caught.value.status, caught.value.code) == (400, code)
        assert caught.value.param == param
        with pytest.raises(ApiError) as caught:
            await prompts.compiled(document, "candidate_labels")
        assert caught.value.param == "candidate_labels"

    run(main())


def test_labels_that_the_model_cannot_tell_apart_are_the_callers_fault() -> None:
    async def main() -> None:
        texts = Texts()

        def alike(prompts: Sequence[str]) -> Vector:
            return np.repeat(texts.encoder.encode_texts(["one"]), len(prompts), axis=0)

        prompts = Prompts(texts.encoder, alike, ServePolicy())
        with pytest.raises(ApiError) as caught:
            await prompts.compiled(own_label_set(["cat", "dog"]))
        assert (caught.value.status, caught.value.code) == (400, "invalid_labels")
        assert "cannot tell label 'dog' from 'cat'" in caught.value.message

    run(main())


def test_a_model_that_fails_fails_all_that_wait_and_the_next_is_tried_again() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        texts.failure = Halt("encode.unusable", "encode: the device is gone")
        waiting = [prompts.embed(["a"], "input"), prompts.embed(["a", "b"], "input")]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [Halt, Halt]
        texts.failure = None
        await prompts.embed(["a"], "input")

    run(main())


def test_more_waiting_texts_than_can_be_kept_are_refused_for_now() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts, remembered_prompts=3)
        texts.free.clear()
        tasks = [asyncio.create_task(prompts.embed(["running"], "input"))]
        await called(texts)
        tasks.append(asyncio.create_task(prompts.embed(["a", "b"], "input")))
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as caught:
            await prompts.embed(["c", "d"], "input")
        assert caught.value.status == 429
        assert caught.value.retry_after_s
        texts.free.set()
        await asyncio.gather(*tasks)

    run(main())


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        texts = Texts()
        prompts = prompts_on(texts)
        texts.free.clear()
        waiting = asyncio.create_task(prompts.embed(["a"], "input"))
        await called(texts)
        await prompts.close()
        texts.free.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())
