"""What the store of web servers asks for, where it goes, and what it makes of answers."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import socket
from typing import Any

import pytest

from pipeline.errors import Halt, PipelineError, Reject, Retry, StoreDenied
from pipeline.records import ObjectBody
from tests.rigs.services.scripted_s3 import BODY, answer, found, run
from tests.rigs.services.web_server import ADDRESS, MAX_BYTES, Web, fetch

LONG_S = 3600.0
SECRET = "signature-of-nobody"


def read(web: Web, key: str = "x.jpg", host: str = "a.example.com", **how: Any) -> ObjectBody:
    settings = how.pop("settings", {})

    async def main() -> ObjectBody:
        async with web.opened(**settings) as store:
            return await fetch(store, key, host, **how)

    return run(main())


def failure(web: Web, key: str = "x.jpg", host: str = "a.example.com", **how: Any) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        read(web, key, host, **how)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(status, b"elsewhere", Location=to)


# -- what is asked for ------------------------------------------------------------------------


def test_path_and_query_are_sent_as_they_are(web: Web) -> None:
    web.server.play(found())
    keys = [
        "",
        "a/b.jpg",
        "a//b.jpg",
        "a/../b/./c",
        "%2e%2E/%7e~",
        "a%20b+c",
        "x?a=1&b=%2F&c=+",
        "x?X-Amz-Signature=%7Eab~&d=a?b",
        "x;y=(1)*'!$,",
    ]
    for key in keys:
        assert read(web, key).body == BODY
    assert web.server.asked == [f"a.example.com/{key}" for key in keys]


def test_a_request_says_no_more_than_it_must(web: Web) -> None:
    web.server.play(found())
    read(web)
    head = web.server.requests[-1].split("\r\n")
    assert head[0] == "GET /x.jpg HTTP/1.1"
    assert sorted(line for line in head[1:] if line) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Host: a.example.com",
        "User-Agent: clipstream",
    ]


def test_no_cookie_of_one_answer_is_sent_with_another_request(web: Web) -> None:
    web.server.play(found(Set_Cookie="session=1; Domain=example.com"))

    async def main() -> None:
        async with web.opened() as store:
            await fetch(store, "a")
            await fetch(store, "b")

    run(main())
    assert web.server.header("cookie") is None


def test_proxies_and_passwords_of_the_environment_are_not_used(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine a.example.com login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    web.server.play(found())
    assert read(web).body == BODY
    assert web.server.header("authorization") is None


def test_an_etag_is_a_condition_of_the_request(web: Web) -> None:
    web.server.play(found())
    assert read(web, etag="e1").etag == "e1"
    assert web.server.header("if-match") == '"e1"'
    web.server.play(answer("412 Precondition Failed"))
    assert failure(web, etag="e1").code == "fetch.superseded"


def test_a_server_that_knows_no_conditions_does_not_pass_another_image_off(web: Web) -> None:
    web.server.play(found())
    assert failure(web, etag="e0").code == "fetch.superseded"
    web.server.play(answer("200 OK", BODY))
    assert failure(web, etag="e0").code == "fetch.superseded"


def test_a_web_server_has_no_versions(web: Web) -> None:
    assert failure(web, version_id="1").code == "fetch.not_found"
    assert web.dialled == []


# -- where it goes ----------------------------------------------------------------------------

REFUSED = [
    ["127.0.0.1"],
    ["::1"],
    ["::ffff:127.0.0.1"],
    ["::ffff:127.0.0.2"],
    ["169.254.169.254"],
    ["::ffff:169.254.169.254"],
    ["fd00:ec2::254"],
    ["10.0.0.1"],
    ["0.0.0.0"],
    ["64:ff9b::7f00:2"],
    ["127.0.0.1", "::1"],
    ["10.0.0.1", "192.168.0.1", "fe80::1"],
]


@pytest.mark.parametrize("addresses", REFUSED, ids=" ".join)
def test_a_name_that_leads_to_no_public_address_is_refused(web: Web, addresses: list[str]) -> None:
    web.names.addresses["a.example.com"] = [addresses]
    error = failure(web)
    assert (type(error), error.code) == (Reject, "fetch.address_not_allowed")
    assert set(web.dialled) == set(addresses)
    assert web.server.requests == []


def test_of_mixed_addresses_only_a_public_one_is_dialled(web: Web) -> None:
    web.names.addresses["a.example.com"] = [["127.0.0.1", ADDRESS]]
    web.server.play(found())
    assert read(web).body == BODY
    assert web.server.asked == ["a.example.com/x.jpg"]


def test_a_name_that_changes_its_address_between_two_requests_is_refused(web: Web) -> None:
    web.names.addresses["a.example.com"] = [[ADDRESS], ["127.0.0.1"]]
    web.server.play(found(), then="close")

    async def main() -> None:
        async with web.opened() as store:
            await fetch(store, "a")
            assert store._session is not None
            store._session.connector.clear_dns_cache()  # type: ignore[union-attr]
            with pytest.raises(Reject) as caught:
                await fetch(store, "b")
            assert caught.value.code == "fetch.address_not_allowed"

    run(main())
    assert web.dialled == [ADDRESS, "127.0.0.1"]


LITERALS = [
    *("127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1"),
    *("127.1", "0", "0x7f000001", "0x7f.1", "①②⑦.0.0.1", "\uff11\uff12\uff17.0.0.1", "localhost"),
    *("127。0。0。1", "a.example.com.", "a.example.com@127.0.0.1", "a.example.com:8443"),
]


@pytest.mark.parametrize("host", LITERALS)
def test_an_address_in_place_of_a_name_is_never_dialled(web: Web, host: str) -> None:
    assert failure(web, host=host, settings={"allowed_hosts": ("*",)}).code == "reference.invalid"
    assert web.dialled == []


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_to_an_allowed_host_is_followed(web: Web, status: str) -> None:
    web.server.pages |= {
        "a.example.com/x.jpg?s=1": redirect("https://b.example.com/y.jpg?t=%7E", status),
        "b.example.com/y.jpg?t=%7E": redirect("/z.jpg", status),
        "b.example.com/z.jpg": found(),
    }
    assert read(web, "x.jpg?s=1").body == BODY
    assert web.server.asked == [*web.server.pages]


REDIRECTS = [
    ("http://a.example.com/y.jpg", "is not an https:// URL"),
    ("http://169.254.169.254/latest/meta-data/", "is not an https:// URL"),
    ("https://a.example.com:8443/y.jpg", "another port than 443"),
    ("https://a.example.com:80/y.jpg", "another port than 443"),
    ("https://me:secret@a.example.com/y.jpg", "a user or a password"),
    ("https://a.example.net/y.jpg", "a.example.net, which is not in https.allowed_hosts"),
    ("//a.example.net/y.jpg", "a.example.net, which is not in https.allowed_hosts"),
    ("https://example.com/y.jpg", "example.com, which is not in https.allowed_hosts"),
    ("https://127.0.0.1/y.jpg", "is not a host's name"),
    ("https://[::ffff:127.0.0.1]/y.jpg", "is not a host's name"),
    ("https://2130706433/y.jpg", "is not a host's name"),
    ("https://localhost/y.jpg", "is not a host's name"),
    ("file:///etc/passwd", "is not an https:// URL"),
    ("ftp://a.example.com/y.jpg", "is not an https:// URL"),
    ("data:image/png;base64,AAAA", "is not an https:// URL"),
    ("https:\\\\a.example.com\\y.jpg", "to no URL"),
    ("", "is not an https:// URL"),
]


@pytest.mark.parametrize(("to", "says"), REDIRECTS)
def test_a_redirect_may_lead_only_where_a_reference_may(web: Web, to: str, says: str) -> None:
    web.server.pages["a.example.com/x.jpg"] = redirect(to)
    error = failure(web)
    assert (type(error), error.code) == (Reject, "fetch.redirected")
    assert says in error.message
    assert "secret" not in error.message
    assert web.server.asked == ["a.example.com/x.jpg"]
    assert web.dialled == [ADDRESS]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_redirect_to_a_host_at_a_private_address_is_refused(web: Web, address: str) -> None:
    web.names.addresses["b.example.com"] = [[address]]
    web.server.pages["a.example.com/x.jpg"] = redirect("https://b.example.com/y.jpg")
    assert failure(web).code == "fetch.address_not_allowed"
    assert web.dialled == [ADDRESS, address]


def test_a_chain_of_redirects_ends(web: Web) -> None:
    web.server.play(redirect("/again"))
    error = failure(web)
    assert error.code == "fetch.redirected"
    assert "more than 3 times" in error.message
    assert len(web.server.requests) == 4
    web.server.clear()
    web.server.play(redirect("/again"))
    assert failure(web, settings={"max_redirects": 0}).code == "fetch.redirected"
    assert len(web.server.requests) == 1


def test_the_certificate_must_be_the_hosts_own(web: Web) -> None:
    other = failure(web, host="example.org", settings={"allowed_hosts": ("*",)})
    assert (type(other), other.code) == (Retry, "fetch.failed")
    assert "certificate is not trusted" in other.message
    unknown = failure(web, settings={"ca_file": None})
    assert "https.ca_file" in unknown.message


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_of_authorities_that_cannot_be_read_halts(
    web: Web, text: str | None, tmp_path: Any
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Halt) as caught:
        web.store(ca_file=file)
    assert caught.value.code == "https.ca_file"


# -- what it makes of answers -----------------------------------------------------------------


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

    async def never() -> None:
        raise AssertionError("a place was asked for")

    assert failure(web, on_answer=never).code == "fetch.too_large"


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

            async def wait_for_room() -> None:
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
