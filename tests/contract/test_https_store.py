"""What the store of web servers asks for, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import Halt, Reject, Retry
from tests.rigs.services.scripted_s3 import BODY, answer, found, run
from tests.rigs.services.web_server import ADDRESS, Web, failure, fetch, read, redirect

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
