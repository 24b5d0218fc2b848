"""Reads single objects through boto3, in threads, for keys that obstore cannot name."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, cast

import urllib3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
    TokenRetrievalError,
)

from pipeline.adapters.s3.answers import Answers, bare_etag
from pipeline.errors import PipelineError
from pipeline.ports import OnAnswer
from pipeline.records import ObjectBody

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef

_CHUNK_BYTES = 1024 * 1024


class BotoReader:
    """Implements ``pipeline.ports.ObjectStore`` with a client that makes one attempt for each
    request."""

    def __init__(
        self, client: S3Client, answers: Answers, *, requester_pays: bool, threads: int
    ) -> None:
        self._client = client
        self._answers = answers
        self._requester_pays = requester_pays
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3-read")

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: OnAnswer,
    ) -> ObjectBody:
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if self._requester_pays:
            request["RequestPayer"] = "requester"
        if version_id is not None:
            request["VersionId"] = version_id
        elif etag is not None:
            request["IfMatch"] = self._answers.if_match(etag)
        answers = self._answers
        cancelled = threading.Event()
        in_thread = partial(asyncio.get_running_loop().run_in_executor, self._threads)
        try:
            response = await in_thread(self._open, request, cancelled)
            with _closed_on_error(response):
                size_bytes = _announced(answers, response, max_bytes)
                await on_answer(size_bytes)
            body = await in_thread(_read_body, answers, response, size_bytes, max_bytes, cancelled)
        except (ClientError, BotoCoreError, urllib3.exceptions.HTTPError) as error:
            # The text may hold the key, which must not be logged.
            versioned = version_id is not None
            raise _exhaustion(answers, error) or failure(
                answers, error, versioned=versioned
            ) from None
        finally:
            # A thread cannot be cancelled. It stops at the next bytes or at the read timeout.
            cancelled.set()
        return answers.checked(
            body,
            etag=bare_etag(response.get("ETag")),
            version_id=response.get("VersionId"),
            content_encoding=response.get("ContentEncoding"),
            wanted_etag=etag,
            wanted_version_id=version_id,
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _open(
        self, request: GetObjectRequestTypeDef, cancelled: threading.Event
    ) -> GetObjectOutputTypeDef:
        """The answer. Its body has not been read."""
        response = self._client.get_object(**request)
        if cancelled.is_set():
            response["Body"].close()
        return response


@contextlib.contextmanager
def _closed_on_error(response: GetObjectOutputTypeDef) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response["Body"].close()
        raise


def _announced(answers: Answers, response: GetObjectOutputTypeDef, max_bytes: int) -> int:
    """The number of bytes that the answer announces, if they may be read."""
    size_bytes = cast("int | None", response.get("ContentLength"))
    if size_bytes is None:
        raise answers.unreachable("the answer has no length")
    answers.check_size(size_bytes, max_bytes)
    return size_bytes


def _read_body(
    answers: Answers,
    response: GetObjectOutputTypeDef,
    size_bytes: int,
    max_bytes: int,
    cancelled: threading.Event,
) -> bytes:
    # Entering the body yields urllib3's response, which can read what has arrived so far.
    with response["Body"] as entered:
        raw = cast("urllib3.HTTPResponse", entered)
        body = bytearray()
        while chunk := raw.read1(_CHUNK_BYTES):
            if cancelled.is_set():
                raise answers.silent("the read was given up")
            body += chunk
            answers.check_size(len(body), max_bytes)
    answers.check_complete(len(body), size_bytes)
    return bytes(body)


def _exhaustion(answers: Answers, error: BaseException) -> OSError | None:
    """The shortage of file descriptors that caused an exception, or None."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return answers.exhaustion(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return None


def failure(answers: Answers, error: Exception, *, versioned: bool) -> PipelineError:
    """The pipeline's error for an exception of boto3."""
    if isinstance(error, ClientError):
        metadata = error.response["ResponseMetadata"]
        status = metadata["HTTPStatusCode"]
        code = error.response["Error"].get("Code")
        # Without a body, boto3 puts the status in place of the code.
        named = None if code == str(status) else code
        after = metadata["HTTPHeaders"].get("retry-after", "")
        return answers.failure(
            status,
            named,
            versioned=versioned,
            retry_after_s=float(after) if after.isdecimal() else None,
        )
    if isinstance(error, (NoCredentialsError, CredentialRetrievalError, TokenRetrievalError)):
        return answers.no_credentials(type(error).__name__)
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError, urllib3.exceptions.TimeoutError)):
        return answers.silent("the store stayed silent too long")
    if isinstance(error, SSLError):
        return answers.untrusted()
    return answers.unreachable(f"no valid answer ({type(error).__name__})")
