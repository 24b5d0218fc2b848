"""What the S3 store puts on the wire, whom it trusts and whom it claims to be, on both ways."""

from __future__ import annotations

import asyncio
import datetime
import errno
import socket
import ssl
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.s3.store import ObstoreS3, reads_exactly
from pipeline.errors import Halt, Retry, StoreDenied
from pipeline.records import ObjectBody
from tests.rigs.services.certificates import certified
from tests.rigs.services.scripted_s3 import (
    ACCESS_KEY,
    BODY,
    SECRET_KEY,
    TOKEN,
    Script,
    both_ways,
    fetch,
    found,
    opened,
    policy,
    run,
)

pytestmark = pytest.mark.usefixtures("known")


def asked_for(script: Script) -> bytes:
    """The object that the last request names, as a server decodes it."""
    path, _, _ = script.target().partition("?")
    return unquote_to_bytes(path)


keys = st.text(
    st.one_of(st.sampled_from("/.%+a \n"), st.characters(exclude_categories=["Cs"])), min_size=1
).filter(lambda key: len(key.encode()) <= 1024)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys)
def test_any_key_goes_over_the_wire_as_it_is(script: Script, store: ObstoreS3, key: str) -> None:
    asyncio.run(fetch(store, key))
    assert asked_for(script) == b"/images/" + key.encode()


@pytest.mark.parametrize(
    ("key", "exact"),
    [
        ("a/b.jpg", True),
        ("a b+c%20/é.jpg", True),
        ("...", True),
        ("a/..b", True),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        ("./a", False),
        ("a/../b", False),
        ("a\nb", False),
        ("a\x7fb", False),
    ],
)
def test_only_keys_that_obstore_leaves_alone_go_through_it(key: str, exact: bool) -> None:
    assert reads_exactly(key) is exact


@both_ways
def test_conditions_and_versions_go_over_the_wire_as_they_are(
    script: Script, store: ObstoreS3, key: str
) -> None:
    script.play(found(x_amz_version_id="v/1+2=3"))
    run(fetch(store, key, etag="e1"))
    assert script.header("if-match") == '"e1"'
    assert "versionId" not in script.target()
    body = run(fetch(store, key, version_id="v/1+2=3", etag="e9"))
    assert body == ObjectBody(BODY, "e1", "v/1+2=3")
    assert script.header("if-match") is None
    assert "versionId=v%2F1%2B2%3D3" in urlsplit(script.target()).query


@both_ways
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd, gzip"])
def test_a_coded_object_comes_as_it_is_stored_with_its_coding_told(
    coding: str, script: Script, store: ObstoreS3, key: str
) -> None:
    script.play(found(content_encoding=coding))  # of bytes that no client could undo
    assert run(fetch(store, key)) == ObjectBody(BODY, "e1", None, coding)
    assert script.header("accept-encoding") in (None, "identity")


def test_a_process_without_file_descriptors_blames_no_object(
    store: ObstoreS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("urllib3.util.connection.create_connection", no_socket)
    store._odd_keys._client._endpoint.http_session.close()  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no connection can be opened") as caught:
        run(fetch(store, "dir//a.jpg"))
    assert caught.value.errno == errno.EMFILE


@both_ways
def test_a_store_that_cannot_be_reached_may_come_back(key: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with (
            opened(policy(f"http://127.0.0.1:{bound.getsockname()[1]}")) as store,
            pytest.raises(Retry) as caught,
        ):
            run(fetch(store, key))
    assert type(caught.value) is Retry
    assert caught.value.code == "fetch.failed"


@both_ways
def test_a_store_whose_name_does_not_resolve_may_come_back(key: str) -> None:
    with opened(policy("http://store.invalid")) as store, pytest.raises(Retry) as caught:
        run(fetch(store, key))
    assert type(caught.value) is Retry
    assert caught.value.code == "fetch.failed"


@both_ways
def test_credentials_that_cannot_be_renewed_are_an_outage(
    script: Script, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They come from a command that works at start-up, and for so short that it is asked again."""
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]:
        monkeypatch.delenv(name)
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    given_out = tmp_path / "given-out.json"
    given_out.write_text(
        f'{{"Version": 1, "AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}", '
        f'"SessionToken": "{TOKEN}", "Expiration": "{expiry.isoformat()}"}}'
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = /bin/cat {given_out}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with opened(policy(script.endpoint)) as store:
        given_out.unlink()
        with pytest.raises(StoreDenied, match="no valid credentials") as caught:
            run(fetch(store, key))
    assert SECRET_KEY not in str(caught.value)
    assert script.requests == []


@both_ways
def test_credentials_that_expire_are_renewed_while_the_store_is_open(
    script: Script, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]:
        monkeypatch.delenv(name)
    given_out = tmp_path / "given-out.json"

    def give_out(access_key: str, lifetime_s: int) -> None:
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=lifetime_s)
        given_out.write_text(
            f'{{"Version": 1, "AccessKeyId": "{access_key}", "SecretAccessKey": "{SECRET_KEY}", '
            f'"SessionToken": "{TOKEN}", "Expiration": "{expiry.isoformat()}"}}'
        )

    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = /bin/cat {given_out}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    give_out(ACCESS_KEY, 1)
    with opened(policy(script.endpoint)) as store:
        give_out("AKIARENEWED", 3600)
        run(fetch(store, key))
    assert "AKIARENEWED" in (script.header("authorization") or "")


@both_ways
def test_requests_are_paid_for_only_where_the_settings_agree(script: Script, key: str) -> None:
    for pays in (True, False):
        with opened(policy(script.endpoint, requester_pays=pays)) as store:
            run(fetch(store, key))
        assert script.header("x-amz-request-payer") == ("requester" if pays else None)


def test_a_worker_without_credentials_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Halt, match=r"s3\.no_credentials"):
        ObstoreS3(policy("http://127.0.0.1:1"))


def test_an_unknown_profile_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Halt, match=r"s3\.profile"):
        ObstoreS3(policy("http://127.0.0.1:1", profile="nobody"))


def test_a_missing_file_of_authorities_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(Halt, match=r"s3\.ca_file"):
        ObstoreS3(policy("https://127.0.0.1:1", ca_file=tmp_path / "none.pem"))


@both_ways
def test_the_body_is_as_stored_even_where_it_claims_to_be_compressed(
    script: Script, store: ObstoreS3, key: str
) -> None:
    script.play(found(Content_Encoding="gzip"))
    assert run(fetch(store, key)).body == BODY


@both_ways
def test_the_environment_says_who_we_are_and_not_where_the_store_is(
    script: Script, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:1"
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy"]:
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    with opened(policy(script.endpoint)) as store:
        run(fetch(store, key))
    assert ACCESS_KEY in (script.header("authorization") or "")
    assert script.header("x-amz-security-token") == TOKEN


@both_ways
def test_virtual_addressing_puts_the_bucket_into_the_host(script: Script, key: str) -> None:
    endpoint = "http://s3.example.com"
    with opened(policy(endpoint, addressing="virtual", proxy_url=script.endpoint)) as store:
        run(fetch(store, key))
    assert script.header("host") == "images.s3.example.com"
    assert script.target() == f"http://images.s3.example.com/{key}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The file of an authority of our own, and a server with a certificate that it signed."""
    return certified(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@both_ways
def test_a_private_authority_is_trusted_if_named_and_only_then(
    key: str, authority: tuple[Path, ssl.SSLContext]
) -> None:
    ca_file, context = authority
    script = Script(tls=context)
    try:
        endpoint = f"https://127.0.0.1:{script.port}"
        with opened(policy(endpoint, ca_file=ca_file)) as store:
            assert run(fetch(store, key)).body == BODY
        with opened(policy(endpoint)) as store, pytest.raises(Retry) as caught:
            run(fetch(store, key))
        assert caught.value.code == "fetch.failed"
        assert "s3.ca_file" in caught.value.message
    finally:
        script.close()
