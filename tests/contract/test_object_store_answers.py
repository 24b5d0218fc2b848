"""What the S3 store makes of every answer, on both of its ways: no retries, no keys, no secrets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.errors import PipelineError, Reject, Retry, StoreDenied
from pipeline.ports import CheckResult
from tests.rigs.services.scripted_s3 import (
    ACCESS_KEY,
    SECRET_KEY,
    TOKEN,
    WAIT_S,
    Script,
    answer,
    both_ways,
    error,
    fetch,
    found,
    opened,
    policy,
    run,
)

pytestmark = pytest.mark.usefixtures("known")


def failure(script: Script, store: ObstoreS3, key: str, **how: Any) -> PipelineError:
    """What the store raises on the script's answer to one request."""
    with pytest.raises(PipelineError) as caught:
        run(fetch(store, key, **how))
    text = str(caught.value)
    assert len(script.requests) == 1, "retries and redirects are not the store's business"
    assert not any(secret in text for secret in (ACCESS_KEY, SECRET_KEY, TOKEN))
    assert "a.jpg" not in text, "keys are not for logs"
    assert "; " in text, "an error says what to do"
    return caught.value


ANSWERS: list[tuple[bytes, type[PipelineError], str]] = [
    (error("404 Not Found", "NoSuchKey"), Reject, "fetch.not_found"),
    (error("404 Not Found", "NoSuchVersion"), Reject, "fetch.not_found"),
    (error("405 Method Not Allowed", "MethodNotAllowed"), Reject, "fetch.not_found"),
    (error("400 Bad Request", "KeyTooLongError"), Reject, "fetch.not_found"),
    (error("412 Precondition Failed", "PreconditionFailed"), Reject, "fetch.superseded"),
    (error("403 Forbidden", "InvalidObjectState"), Reject, "fetch.archived"),
    (answer("200 OK", b"", ETag='"e1"'), Reject, "fetch.empty"),
    (answer("200 OK", b"." * 1001, ETag='"e1"'), Reject, "fetch.too_large"),
    (error("404 Not Found", "NoSuchBucket"), StoreDenied, "fetch.no_bucket"),
    (error("400 Bad Request", "InvalidBucketName"), StoreDenied, "fetch.no_bucket"),
    (error("403 Forbidden", "AccessDenied"), StoreDenied, "fetch.forbidden"),
    (error("403 Forbidden", "InvalidAccessKeyId"), StoreDenied, "fetch.forbidden"),
    (error("403 Forbidden", "SignatureDoesNotMatch"), StoreDenied, "fetch.forbidden"),
    (error("403 Forbidden", "RequestTimeTooSkewed"), StoreDenied, "fetch.forbidden"),
    (error("401 Unauthorized", "Unauthorized"), StoreDenied, "fetch.forbidden"),
    (error("400 Bad Request", "ExpiredToken"), StoreDenied, "fetch.forbidden"),
    (error("400 Bad Request", "InvalidToken"), StoreDenied, "fetch.forbidden"),
    (answer("403 Forbidden"), StoreDenied, "fetch.forbidden"),
    (answer("404 Not Found"), Retry, "fetch.failed"),
    (answer("404 Not Found", b"<html>no such page</html>"), Retry, "fetch.failed"),
    (answer("400 Bad Request"), Retry, "fetch.failed"),
    (error("400 Bad Request", "InvalidArgument"), StoreDenied, "fetch.failed"),
    (error("400 Bad Request", "InvalidRequest"), StoreDenied, "fetch.locked"),
    (error("400 Bad Request", "KMS.DisabledException"), StoreDenied, "fetch.locked"),
    (error("400 Bad Request", "KMS.KMSInvalidStateException"), StoreDenied, "fetch.locked"),
    (error("400 Bad Request", "KMS.ThrottlingException"), Retry, "fetch.failed"),
    (error("503 Service Unavailable", "KMS.KMSInternalException"), Retry, "fetch.failed"),
    (error("409 Conflict", "OperationAborted"), Retry, "fetch.failed"),
    (error("429 Too Many Requests", "TooManyRequests"), Retry, "fetch.failed"),
    (error("500 Internal Server Error", "InternalError"), Retry, "fetch.failed"),
    (answer("502 Bad Gateway", b"<html></html>"), Retry, "fetch.failed"),
    (error("503 Slow Down", "SlowDown", Retry_After="7"), Retry, "fetch.failed"),
    (error("400 Bad Request", "RequestTimeout"), Retry, "fetch.timeout"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Retry, "fetch.failed"),
]


@both_ways
@pytest.mark.parametrize(
    ("reply", "kind", "code"), ANSWERS, ids=[reply[9:60].decode() for reply, *_ in ANSWERS]
)
def test_every_answer_has_its_meaning(
    script: Script, store: ObstoreS3, reply: bytes, kind: type[PipelineError], code: str, key: str
) -> None:
    script.play(reply)
    raised = failure(script, store, key)
    assert type(raised) is kind
    assert raised.code == code


@both_ways
@pytest.mark.parametrize("code", ["InvalidArgument", "InvalidVersionId"])
def test_a_malformed_version_id_is_not_found(
    script: Script, store: ObstoreS3, key: str, code: str
) -> None:
    script.play(error("400 Bad Request", code))
    assert failure(script, store, key, version_id="x").code == "fetch.not_found"


@both_ways
@pytest.mark.parametrize(
    "reply",
    [b"", b"\x00 no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"],
    ids=["no answer", "no HTTP", "short body"],
)
def test_a_connection_that_breaks_may_hold_next_time(
    script: Script, store: ObstoreS3, reply: bytes, key: str
) -> None:
    script.play(reply, "close")
    raised = failure(script, store, key)
    assert type(raised) is Retry
    assert raised.code == "fetch.failed"


def test_a_pause_that_the_store_asks_for_is_passed_on(script: Script, store: ObstoreS3) -> None:
    script.play(error("503 Slow Down", "SlowDown", Retry_After="7"))
    raised = failure(script, store, "dir//a.jpg")
    assert isinstance(raised, Retry)
    assert raised.retry_after_s == 7.0


@both_ways
@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"], ids=["head", "body"]
)
def test_a_store_that_falls_silent_is_left_after_the_read_timeout(
    script: Script, head: bytes, key: str
) -> None:
    script.play(head)
    with opened(policy(script.endpoint, read_timeout_s=0.2)) as store:
        assert failure(script, store, key).code == "fetch.timeout"


@both_ways
def test_a_read_that_is_given_up_closes_its_connection(
    script: Script, store: ObstoreS3, key: str
) -> None:
    script.play(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nhalf", "drip")

    async def given_up() -> None:
        async with asyncio.timeout(0.3):
            await fetch(store, key, max_bytes=500_000)

    with pytest.raises(TimeoutError):
        run(given_up())
    assert script.client_has_gone.wait(WAIT_S)


@both_ways
def test_a_too_large_object_is_not_read(script: Script, store: ObstoreS3, key: str) -> None:
    script.play(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n", "drip")
    raised = failure(script, store, key)
    assert raised.code == "fetch.too_large"
    assert "5,000,000,000" in raised.message
    assert script.client_has_gone.wait(WAIT_S)


def test_a_body_longer_than_announced_is_not_held(script: Script, store: ObstoreS3) -> None:
    """In chunks it can be: HTTP then ignores the length that it was announced with."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n"
    script.play(head + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n")
    assert failure(script, store, "a").code == "fetch.too_large"


@both_ways
@pytest.mark.parametrize("headers", [{}, {"x_amz_version_id": "another"}], ids=["none", "another"])
def test_a_store_that_ignores_versions_is_not_believed(
    script: Script, store: ObstoreS3, key: str, headers: dict[str, str]
) -> None:
    script.play(found(**headers))
    assert failure(script, store, key, version_id="wanted").code == "fetch.not_found"


@both_ways
def test_a_store_that_ignores_conditions_is_not_believed(
    script: Script, store: ObstoreS3, key: str
) -> None:
    assert failure(script, store, key, etag="another").code == "fetch.superseded"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (error("403 Forbidden", "InvalidAccessKeyId"), ("credentials", CheckResult.FAILED)),
        (error("403 Forbidden", "AccessDenied"), ("bucket images", CheckResult.WARNING)),
        (answer("404 Not Found", b"<html></html>"), ("endpoint", CheckResult.FAILED)),
    ],
    ids=["unknown key", "not allowed to list", "no S3 server"],
)
def test_the_check_ends_at_what_is_wrong(
    script: Script, reply: bytes, expected: tuple[str, CheckResult]
) -> None:
    script.play(reply)
    admin = S3Admin(policy(script.endpoint, allowed_buckets=["images"]))
    checks = list(admin.check())
    admin.close()
    assert (checks[-1].subject, checks[-1].result) == expected
    assert all(check.result is CheckResult.PASSED for check in checks[:-1])


def test_the_check_reports_a_store_that_is_not_there() -> None:
    admin = S3Admin(policy("http://127.0.0.1:1", allowed_buckets=["images"]))
    (only,) = admin.check()
    admin.close()
    assert (only.subject, only.result) == ("endpoint", CheckResult.FAILED)
    assert "http://127.0.0.1:1" in only.message


@both_ways
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_to_another_host_is_not_followed(
    script: Script, store: ObstoreS3, status: str, key: str
) -> None:
    other = Script("127.0.0.2")
    try:
        script.play(answer(status, Location=f"{other.endpoint}/images/a"))
        assert type(failure(script, store, key)) is StoreDenied
        assert other.requests == []
    finally:
        other.close()


def test_commands_agree_to_pay_too(script: Script) -> None:
    found = b"<Contents><Key>a</Key><Size>5</Size></Contents>"
    script.play(answer("200 OK", b"<ListBucketResult>" + found + b"</ListBucketResult>"))
    admin = S3Admin(policy(script.endpoint, requester_pays=True, allowed_buckets=["images"]))
    for call in (lambda: list(admin.list_objects("images", "")), lambda: list(admin.check())):
        script.requests.clear()
        call()
        assert script.header("x-amz-request-payer") == "requester"
    admin.close()
