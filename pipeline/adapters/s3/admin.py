"""Lists, writes and checks S3 through boto3, for commands and not for the path of an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.adapters.s3.answers import Answers, bare_etag
from pipeline.adapters.s3.connection import open_client, open_session
from pipeline.adapters.s3.odd_keys import failure
from pipeline.errors import PipelineError, StoreDenied
from pipeline.ports import Check, CheckResult, ListedObject
from pipeline.records import ObjectBody

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

    from pipeline.adapters.s3.policy import S3Policy

_ATTEMPTS = 3
_CONNECTIONS = 10
_HOME_REGION = "us-east-1"
"""The only region that must not be named when a bucket is created."""


class _Payer(TypedDict, total=False):
    RequestPayer: Literal["requester"]


class S3Admin:
    """Lists, creates and writes, for `enqueue`, doctor, demo and tests.

    Thread-safe. Every call blocks and retries.

    Raises:
        Halt: there are no credentials.
    """

    def __init__(self, policy: S3Policy) -> None:
        self._buckets = policy.allowed_buckets
        self._answers = Answers(policy.section)
        self._payer: _Payer = {"RequestPayer": "requester"} if policy.requester_pays else {}
        session = open_session(policy)
        self._client = open_client(session, policy, attempts=_ATTEMPTS, connections=_CONNECTIONS)

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """The bucket's objects whose key starts with ``prefix``, page by page, in key order.

        Raises:
            StoreDenied: listing is not allowed, or there is no such bucket.
            Retry: the store failed several times.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, **self._payer
        )
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield ListedObject(
                        bucket, entry["Key"], bare_etag(entry.get("ETag")), entry["Size"]
                    )
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error

    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None:
        """Make sure that the bucket exists and is ours.

        Raises:
            StoreDenied, Retry: as ``list_objects``.
        """
        region = self._client.meta.region_name
        try:
            if region == _HOME_REGION:
                self._client.create_bucket(Bucket=bucket)
            else:
                self._client.create_bucket(
                    Bucket=bucket,
                    CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]  # any region of any store
                )
        except self._client.exceptions.BucketAlreadyOwnedByYou:
            pass
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error
        if versioned:
            try:
                self._client.put_bucket_versioning(
                    Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
                )
            except (ClientError, BotoCoreError) as error:
                raise self._failure(error) from error

    def put(
        self, bucket: str, key: str, body: bytes, content_encoding: str | None = None
    ) -> ObjectBody:
        """Write an object. Returns it as a read would.

        Raises:
            StoreDenied, Retry: as ``list_objects``.
        """
        request: PutObjectRequestTypeDef = {"Bucket": bucket, "Key": key, "Body": body}
        if content_encoding is not None:
            request["ContentEncoding"] = content_encoding
        try:
            response = self._client.put_object(**request)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error
        etag = bare_etag(response.get("ETag"))
        return ObjectBody(body, etag, response.get("VersionId"), content_encoding)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, or hide it behind a delete marker if versions are kept.

        Raises:
            StoreDenied, Retry: as ``list_objects``.
        """
        try:
            self._client.delete_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            raise self._failure(error) from error

    def check(self) -> Iterator[Check]:
        """Try what the worker needs: the endpoint, the credentials, and each bucket without a
        pattern.

        Ends early if all further checks would fail for the same reason. Never raises for a fault of
        the store.
        """
        endpoint = self._client.meta.endpoint_url
        refused = self._refusal()
        if refused is not None and not isinstance(refused, StoreDenied):
            yield Check("endpoint", CheckResult.FAILED, f"{endpoint}: {refused.message}")
            return
        yield Check("endpoint", CheckResult.PASSED, f"{endpoint} answers")
        if refused is not None:
            yield Check("credentials", CheckResult.FAILED, refused.message)
            return
        yield Check("credentials", CheckResult.PASSED, "the store knows the credentials")
        for bucket in self._buckets:
            yield self._check_bucket(bucket)

    def close(self) -> None:
        self._client.close()

    def _check_bucket(self, bucket: str) -> Check:
        subject = f"bucket {bucket}"
        if "*" in bucket:
            message = "a pattern: its buckets are not checked"
            return Check(subject, CheckResult.WARNING, message)
        try:
            found = self._client.list_objects_v2(Bucket=bucket, MaxKeys=1, **self._payer).get(
                "Contents", []
            )
        except (ClientError, BotoCoreError) as error:
            meaning = self._failure(error)
            if meaning.code != "fetch.forbidden":
                return Check(subject, CheckResult.FAILED, meaning.message)
            message = (
                "listing is refused, so reading could not be tried. Without s3:ListBucket, S3 "
                "answers 403 for a missing object, and its dead letter says fetch.forbidden; grant "
                "s3:ListBucket to see fetch.not_found (`enqueue` needs it too)"
            )
            return Check(subject, CheckResult.WARNING, message)
        if not found:
            return Check(subject, CheckResult.PASSED, "exists and is empty")
        try:
            self._client.get_object(Bucket=bucket, Key=found[0]["Key"], **self._payer)[
                "Body"
            ].close()
        except (ClientError, BotoCoreError) as error:
            meaning = self._failure(error)
            return Check(subject, CheckResult.FAILED, meaning.message)
        return Check(subject, CheckResult.PASSED, "an object of it can be read")

    def _failure(self, error: ClientError | BotoCoreError) -> PipelineError:
        return failure(self._answers, error, versioned=False)

    def _refusal(self) -> PipelineError | None:
        """Why the store does not serve us at all, or None."""
        try:
            self._client.list_buckets()
        except (ClientError, BotoCoreError) as error:
            # Workers need not be allowed to list buckets. It is enough that the store knows them.
            if isinstance(error, ClientError) and error.response["Error"]["Code"] == "AccessDenied":
                return None
            return self._failure(error)
        return None
