"""What the store of web servers makes of answers."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import socket
from typing import Any

import pytest

from pipeline.errors import PipelineError, Reject, Retry, StoreDenied
from pipeline.records import ObjectBody
from tests.rigs.services.scripted_s3 import BODY, answer, found, run
from tests.rigs.services.web_server import ADDRESS, MAX_BYTES, Web, failure, fetch, read, redirect

LONG_S = 3600.0
SECRET = "signature-of-nobody"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ("204 No Content", Reject, "fetch.empty"),
        ("206 Partial Content", Retry, "fetch.failed"),
        ("304 Not Modified", Retry, "fetch.failed"),
        ("400 Bad Request", StoreDenied, "fetch.failed"),
        ("401 Unauthorized", StoreDenied, "fetch.forbidden"),
        ("403 Forbidden", StoreDenied, "fetch.forbidden"),
        ("404 Not Found", Reject, "fetch.not_found"),
        ("408 Request Timeout", Retry, "fetch.failed"),
        ("410 Gone", Reject, "fetch.not_found"),
        ("418 Teapot", StoreDenied, "fetch.failed"),
        ("429 Too Many Requests", Retry, "fetch.failed"),
        ("451 Unavailable", StoreDenied, "fetch.forbidden"),
        ("500 Oh", Retry, "fetch.failed"),
        ("503 Busy", Retry, "fetch.failed"),
    ],
)
def test_every_answer_has_its_fate(
    web: Web, status: str, kind: type[PipelineError], code: str
) -> None:
    web.server.play(answer(status))
    error = failure(web)
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-1"}, None),
        (
            {
                "Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(
    web: Web, headers: dict[str, str], wait_s: float | None
) -> None:
    web.server.play(answer("503 Busy", b"", **headers))
    error = failure(web)
    assert isinstance(error, Retry)
    assert error.retry_after_s == wait_s


def test_the_coding_of_an_image_is_told_and_not_undone(web: Web) -> None:
    coded = gzip.compress(BODY, mtime=0)
    web.server.play(answer("200 OK", coded, Content_Encoding="gzip"))
    assert read(web) == ObjectBody(coded, None, None, "gzip")


@pytest.mark.parametrize(
    ("header", "etag"),
    [('"e1"', "e1"), ('W/"e1"', "e1"), ('"' + "e" * 300 + '"', None), ('"a b"', None), ("", None)],
)
def test_an_etag_that_no_event_should_carry_is_left_out(
    web: Web, header: str, etag: str | None
) -> None:
    web.server.play(answer("200 OK", BODY, ETag=header))
    assert read(web).etag == etag


def test_an_announced_size_over_the_limit_is_refused_before_a_place_is_asked_for(web: Web) -> None:
    web.server.play(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")

    async def never(_: int | None = None) -> None:
        raise AssertionError("a place was asked for")

    assert failure(web, on_answer=never).code == "fetch.too_large"


@pytest.mark.parametrize(
    ("head", "announced"),
    [("Content-Length: 5", 5), ("Transfer-Encoding: chunked", None)],
)
def test_who_bounds_memory_hears_the_size_that_the_server_announces(
    web: Web, head: str, announced: int | None
) -> None:
    body = b"image" if announced else b"5\r\nimage\r\n0\r\n\r\n"
    web.server.play(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
    heard: list[int | None] = []

    async def answered(size_bytes: int | None = None) -> None:
        heard.append(size_bytes)

    assert read(web, on_answer=answered).body == b"image"
    assert heard == [announced]


def test_a_body_of_no_announced_size_is_cut_at_the_limit(web: Web) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    web.server.play(head + chunk * 64, then="close")
    assert failure(web, max_bytes=0x8000 * 3).code == "fetch.too_large"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_an_image_without_bytes_is_empty(web: Web, reply: bytes) -> None:
    web.server.play(reply)
    assert failure(web).code == "fetch.empty"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["short", "chunk", "length", "nonsense", "header", "nothing"],
)
def test_an_answer_that_breaks_off_or_makes_no_sense_may_pass(web: Web, reply: bytes) -> None:
    web.server.play(reply, then="close")
    error = failure(web)
    assert (type(error), error.code) == (Retry, "fetch.failed")


def test_a_host_without_an_address_may_pass(web: Web) -> None:
    web.names.addresses["a.example.com"] = [[]]
    error = failure(web)
    assert (type(error), error.code) == (Retry, "fetch.failed")


def test_a_silent_server_is_told_from_one_that_fails(web: Web) -> None:
    web.server.play(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    error = failure(web, settings={"read_timeout_s": 0.05})
    assert (type(error), error.code) == (Retry, "fetch.timeout")


def test_a_process_without_descriptors_says_nothing_about_the_image(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(web, "rule", none_left)
    with pytest.raises(OSError, match="https: no connection can be opened") as caught:
        read(web)
    assert caught.value.errno == errno.EMFILE


def test_a_read_that_is_given_up_leaves_its_connection(web: Web) -> None:
    web.server.play(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")

    async def main() -> None:
        async with web.opened() as store:
            waiting = asyncio.Event()

            async def wait_for_room(_: int | None = None) -> None:
                waiting.set()
                await asyncio.sleep(LONG_S)

            task = asyncio.create_task(fetch(store, "x.jpg", on_answer=wait_for_room))
            await waiting.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(web.server.client_has_gone.wait, 10.0)

    run(main())
    assert web.server.client_has_gone.is_set()


def test_a_connection_is_used_again(web: Web) -> None:
    web.server.play(found())

    async def main() -> None:
        async with web.opened() as store:
            for number in range(3):
                await fetch(store, f"{number}")

    run(main())
    assert web.dialled == [ADDRESS]


def test_the_largest_image_is_read_whole(web: Web) -> None:
    body = bytes(range(256)) * (MAX_BYTES // 256)
    web.server.play(answer("200 OK", body))
    assert read(web).body == body


@pytest.mark.parametrize(
    "reply",
    [
        answer("403 Forbidden"),
        redirect("http://a.example.com/x?" + SECRET),
        redirect("https://a.example.net/x?" + SECRET),
        redirect("https://a.example.com/x y?" + SECRET),
        redirect("https://a.example.com/x?a b" + SECRET),
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_no_message_quotes_a_query(
    web: Web, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.server.play(reply, then="close")
    error = failure(web, f"x.jpg?{SECRET}")
    assert SECRET not in str(error) + repr(error.args) + caplog.text


def test_closing_twice_is_closing_once(web: Web) -> None:
    async def main() -> None:
        async with web.opened() as store:
            await store.close()

    run(main())
