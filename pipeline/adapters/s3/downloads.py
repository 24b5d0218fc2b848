"""Reads large objects into files, for commands and not for the path of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.adapters.s3.answers import Answers
from pipeline.adapters.s3.connection import open_client, open_session
from pipeline.adapters.s3.odd_keys import failure
from pipeline.errors import Halt

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

    from pipeline.adapters.s3.policy import S3Policy

_ATTEMPTS = 5
_CONNECTIONS = 4
_CHUNK_BYTES = 1024 * 1024
_ABSENT = ("NoSuchKey", "404")
_CHANGED = ("PreconditionFailed", "412")


class S3Downloads:
    """Blocks and retries.

    Raises:
        Halt: there are no credentials.
    """

    def __init__(self, policy: S3Policy, changed: str = "backfill.manifest_damaged") -> None:
        """``changed`` is the code of the Halt for an object that is written anew while it is
        read."""
        self._policy = policy
        self._changed = changed
        self._answers = Answers(policy.section)
        session = open_session(policy)
        self._client = open_client(session, policy, attempts=_ATTEMPTS, connections=_CONNECTIONS)

    def download(
        self, bucket: str, key: str, into: BinaryIO, tell: Callable[[], object] = lambda: None
    ) -> bool:
        """Write the object into the file. An answer that breaks off is continued where it ended.
        False if there is no such object. ``tell`` is called for each part that has come.

        Raises:
            Halt: the object was written anew meanwhile.
            StoreDenied: the store refuses.
            Retry: the store failed several times without a byte.
        """
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if self._policy.requester_pays:
            request["RequestPayer"] = "requester"
        held, size, failures = 0, None, 0
        while size is None or held < size:
            before = held
            try:
                if held:
                    request["Range"] = f"bytes={held}-"
                answer = self._client.get_object(**request)
                request["IfMatch"] = answer["ETag"]
                size = held + answer["ContentLength"]
                with answer["Body"] as body:
                    while part := body.read(_CHUNK_BYTES):
                        into.write(part)
                        held += len(part)
                        tell()
            except ClientError as error:
                code = error.response["Error"].get("Code")
                if code in _ABSENT:
                    return False
                if code in _CHANGED:
                    raise Halt(
                        self._changed,
                        f"s3://{bucket}/{key}: was written anew while it was read; run the command "
                        "again",
                    ) from error
                raise failure(self._answers, error, versioned=False) from error
            except (BotoCoreError, urllib3.exceptions.HTTPError) as error:
                failures = 0 if held > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise failure(self._answers, error, versioned=False) from error
        return True

    def region(self, bucket: str) -> str | None:
        """The region that the store says the bucket is in. None if the store does not say."""
        try:
            headers = self._client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            # A refusal and a redirect name the region too.
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        except BotoCoreError as error:
            raise failure(self._answers, error, versioned=False) from error
        return headers.get("x-amz-bucket-region")

    def close(self) -> None:
        self._client.close()
