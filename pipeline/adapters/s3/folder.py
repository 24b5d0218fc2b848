"""Objects below a prefix, through boto3, with conditional writes.

Not obstore, which reports a conflict of two conditional writes (409) as an existing object without
saying which, and cannot list all keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.adapters.s3.answers import Answers, bare_etag
from pipeline.adapters.s3.connection import open_client, open_session
from pipeline.adapters.s3.odd_keys import failure
from pipeline.errors import PipelineError, Reject, Retry, StoreDenied
from pipeline.ports import StoredFile

if TYPE_CHECKING:
    from pipeline.adapters.s3.policy import S3Policy

_ATTEMPTS = 5
_BODIES = 2
_CONNECTIONS = 32
_LEAST_READ_TIMEOUT_S = 60.0
"""A store answers only once it has stored a results file of some hundred MB."""

_GRANT = "grant s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there"

_ABSENT = {"NoSuchKey"}
_ABSENT_TO_HEAD = _ABSENT | {"404"}
"""An answer to HEAD has no body, hence no code. To a GET, a 404 without a code is no answer of
S3."""
_TAKEN = {409, 412}
_UNSUPPORTED = {"NotImplemented", "501"}

T = TypeVar("T")


class S3Folder:
    """Implements ``pipeline.ports.Folder``.

    Raises:
        Halt: there are no credentials.
    """

    def __init__(self, policy: S3Policy, bucket: str, prefix: str) -> None:
        """``prefix`` is empty, or ends with a slash."""
        self._bucket = bucket
        self._prefix = prefix
        self._answers = Answers(policy.section, _GRANT)
        patient = policy.model_copy(
            update={"read_timeout_s": max(policy.read_timeout_s, _LEAST_READ_TIMEOUT_S)}
        )
        self._client = open_client(
            open_session(policy), patient, attempts=_ATTEMPTS, connections=_CONNECTIONS
        )

    def read(self, name: str) -> StoredFile | None:
        def get() -> StoredFile:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            with contextlib.closing(answer["Body"]) as body:
                return StoredFile(body.read(), bare_etag(answer["ETag"]) or "")

        return self._whole(get)

    def tail(self, name: str, length: int) -> bytes | None:
        def get() -> bytes:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes=-{length}"
            )
            with contextlib.closing(answer["Body"]) as body:
                return body.read()

        return self._whole(get)

    def metadata(self, name: str) -> Mapping[str, str] | None:
        answer = self._unless(
            lambda: self._client.head_object(Bucket=self._bucket, Key=self._prefix + name),
            absent=_ABSENT_TO_HEAD,
        )
        if answer is None:
            return None
        # Names of headers are told with capitals by some stores.
        return {key.lower(): value for key, value in answer["Metadata"].items()}

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        answer = self._unless(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=body,
                Metadata=dict(metadata),
                IfNoneMatch="*",
            ),
            taken=_TAKEN,
        )
        return answer is not None

    def replace(
        self, name: str, body: bytes, etag: str, metadata: Mapping[str, str] = {}
    ) -> str | None:
        answer = self._unless(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=body,
                Metadata=dict(metadata),
                IfMatch=f'"{etag}"',
            ),
            absent=_ABSENT,
            taken=_TAKEN,
        )
        return None if answer is None else bare_etag(answer["ETag"])

    def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
        self._unless(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=body,
                Metadata=dict(metadata),
            )
        )

    def delete(self, name: str) -> None:
        self._unless(
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name),
            absent=_ABSENT,
        )

    def names(self, prefix: str = "") -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self._prefix)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        self._client.close()

    def _whole(self, get: Callable[[], T]) -> T | None:
        """What ``get`` reads to its end, or None if the object is absent."""
        for _ in range(_BODIES - 1):
            try:
                return self._unless(get, absent=_ABSENT)
            except StoreDenied:
                raise
            except Retry:
                # boto3 does not try again once the answer has begun, and a body can break off.
                continue
        return self._unless(get, absent=_ABSENT)

    def _unless(
        self,
        call: Callable[[], T],
        *,
        absent: Set[str] = frozenset(),
        taken: Set[int] = frozenset(),
    ) -> T | None:
        """The answer, or None if the store answers with one of these codes or statuses."""
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"].get("Code")
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in absent or status in taken:
                return None
            raise self._failure(error) from error
        except BotoCoreError as error:
            raise self._failure(error) from error

    def _failure(self, error: ClientError | BotoCoreError) -> PipelineError:
        """The failure with an `output.` code. A failure of the output is not one of an image."""
        meaning = failure(self._answers, error, versioned=False)
        message = f"output s3://{self._bucket}/{self._prefix}: {meaning.message}"
        if isinstance(error, ClientError) and error.response["Error"].get("Code") in _UNSUPPORTED:
            return StoreDenied("output.unsupported", message)
        code = meaning.code.replace("fetch.", "output.")
        if isinstance(meaning, (Reject, StoreDenied)):
            return StoreDenied(code, message)
        return Retry(code, message)
