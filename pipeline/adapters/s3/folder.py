"""Objects below a prefix, through boto3, with conditional writes.

Not obstore, which reports a conflict of two conditional writes (409) as an existing object without
saying which, and cannot list all keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.adapters.s3.answers import Answers, bare_etag
from pipeline.adapters.s3.connection import open_client, open_session
from pipeline.adapters.s3.odd_keys import failure
from pipeline.ports import StoredFile

if TYPE_CHECKING:
    from pipeline.adapters.s3.policy import S3Policy

_ATTEMPTS = 5
_CONNECTIONS = 32

_ABSENT = {"NoSuchKey", "404"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}

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
        self._answers = Answers(policy.section)
        session = open_session(policy)
        self._client = open_client(session, policy, attempts=_ATTEMPTS, connections=_CONNECTIONS)

    def read(self, name: str) -> StoredFile | None:
        def get() -> StoredFile:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            with answer["Body"] as body:
                return StoredFile(body.read(), bare_etag(answer["ETag"]) or "")

        return self._unless(_ABSENT, get)

    def tail(self, name: str, size: int) -> bytes | None:
        def get() -> bytes:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes=-{size}"
            )
            with answer["Body"] as body:
                # A server may ignore the range, and send the whole object.
                return body.read()[-size:]

        return self._unless(_ABSENT, get)

    def metadata(self, name: str) -> Mapping[str, str] | None:
        answer = self._unless(
            _ABSENT,
            lambda: self._client.head_object(Bucket=self._bucket, Key=self._prefix + name),
        )
        return None if answer is None else answer["Metadata"]

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> bool:
        answer = self._unless(
            _TAKEN,
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=body,
                Metadata=dict(metadata),
                IfNoneMatch="*",
            ),
        )
        return answer is not None

    def replace(self, name: str, body: bytes, etag: str) -> str | None:
        answer = self._unless(
            _TAKEN | _ABSENT,
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=body, IfMatch=f'"{etag}"'
            ),
        )
        return None if answer is None else bare_etag(answer["ETag"])

    def write(self, name: str, body: bytes) -> None:
        self._unless(
            set(),
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=body
            ),
        )

    def delete(self, name: str) -> None:
        self._unless(
            set(),
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name),
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
            raise failure(self._answers, error, versioned=False) from error

    def close(self) -> None:
        self._client.close()

    def _unless(self, codes: set[str], call: Callable[[], T]) -> T | None:
        """The answer, or None if the store answers with one of these codes."""
        try:
            return call()
        except ClientError as error:
            if error.response["Error"].get("Code") in codes:
                return None
            raise failure(self._answers, error, versioned=False) from error
        except BotoCoreError as error:
            raise failure(self._answers, error, versioned=False) from error
