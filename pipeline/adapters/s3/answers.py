"""What an S3 store's answer to a GET means for the image. No message contains a key, because
messages are logged.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from pipeline.errors import PipelineError, Reject, Retry, StoreDenied, is_exhaustion
from pipeline.records import ObjectBody

_MISSING = {
    "NoSuchKey",
    "NoSuchVersion",
    "MethodNotAllowed",  # the version asked for is a delete marker
    "KeyTooLongError",
    "XMinioInvalidObjectName",
}
_MISSING_VERSION = {"InvalidArgument", "InvalidVersionId"}
"""Errors for malformed version ids, if a version was requested."""

_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}

_KMS = "KMS."
_KMS_PASSES = re.compile(r"Throttl|Internal|Unavailable|Timeout|LimitExceeded")
"""Codes of the key management service that say nothing about the object's key."""

_NOT_US = {
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
}
"""Refusals that come with another status than 401 or 403."""

_REGION = "set {section}.region to the bucket's"
_CREDENTIALS = "give the worker credentials of this store"
_RENEWAL = "look at what renews the credentials"
_REMEDIES = {
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "ExpiredToken": _RENEWAL,
    "InvalidToken": _RENEWAL,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
}
_GRANT = "grant s3:GetObject and s3:GetObjectVersion"

_ETAG = re.compile(r"[\x21\x23-\x7e]+")
"""The characters that RFC 9110 allows between the quotes, without bytes beyond ASCII."""


def bare_etag(header: str | None) -> str | None:
    return None if header is None else header.removeprefix("W/").strip('"')


@dataclass(frozen=True, slots=True)
class Answers:
    """The meaning of one store's answers. ``section`` is the store's section of the settings.
    Messages begin with it and name its settings. ``grant`` says what to allow whoever is
    refused."""

    section: str
    grant: str = _GRANT

    def failure(
        self, status: int, code: str | None, *, versioned: bool, retry_after_s: float | None = None
    ) -> PipelineError:
        """The error to raise for an answer other than 2xx.

        ``code`` is S3's code from the body. ``versioned`` says whether a version was requested.
        """
        answer = f"{self.section}: the store answered {status} {code or 'without an S3 error code'}"
        if code in _MISSING or (versioned and status == 400 and code in _MISSING_VERSION):
            return Reject(
                "fetch.not_found", f"{answer}; check the order of upload and notification"
            )
        if status == 412:
            return self.superseded()
        if code == "InvalidObjectState":
            return Reject("fetch.archived", f"{answer}; restore the object and replay")
        if code in _NO_BUCKET:
            return StoreDenied(
                "fetch.no_bucket",
                f"{answer}; create the bucket, or mend {self.section}.allowed_buckets",
            )
        if status in (401, 403) or 300 <= status < 400 or code in _NOT_US:
            remedy = _REMEDIES.get(code or "", self.grant).format(section=self.section)
            return StoreDenied("fetch.forbidden", f"{answer}; {remedy}", retry_after_s)
        of_kms = code is not None and code.startswith(_KMS)
        kms_passes = of_kms and _KMS_PASSES.search(code or "") is not None
        if code == "InvalidRequest" or (of_kms and not kms_passes):
            return StoreDenied(
                "fetch.locked",
                f"{answer}; grant kms:Decrypt on the object's key or enable it; objects encrypted "
                "with a customer's own key (SSE-C) cannot be read",
                retry_after_s,
            )
        if code == "RequestTimeout":
            return Retry("fetch.timeout", f"{answer}; look at the network", retry_after_s)
        if code and 400 <= status < 500 and status not in (404, 408, 409, 429) and not kms_passes:
            return StoreDenied("fetch.failed", f"{answer}; look at the store's logs", retry_after_s)
        # A 404 that names no key comes from a server that is not S3, or from a proxy in front of
        # it.
        remedy = f"check {self.section}.endpoint" if status == 404 else "look at the store's logs"
        return Retry("fetch.failed", f"{answer}; {remedy}", retry_after_s)

    def unreachable(self, detail: str) -> Retry:
        """No answer, or an incomplete one."""
        return Retry("fetch.failed", f"{self.section}: {detail}; look at the network and the store")

    def exhaustion(self, number: int) -> OSError | None:
        """The error to raise if no connection could be opened because of this error number. A
        process without file descriptors says nothing about the store or the object."""
        error = OSError(
            number, f"{self.section}: no connection can be opened: {os.strerror(number)}"
        )
        return error if is_exhaustion(error) else None

    def silent(self, detail: str) -> Retry:
        return Retry(
            "fetch.timeout",
            f"{self.section}: {detail}; look at the store ({self.section}.connect_timeout_s, "
            f"{self.section}.read_timeout_s)",
        )

    def untrusted(self) -> Retry:
        return Retry(
            "fetch.failed",
            f"{self.section}: the store's certificate is not trusted; name its authority in "
            f"{self.section}.ca_file",
        )

    def no_credentials(self, detail: str) -> StoreDenied:
        return StoreDenied(
            "fetch.forbidden",
            f"{self.section}: no valid credentials ({detail}); fix the credentials",
        )

    def redirected(self) -> StoreDenied:
        return StoreDenied(
            "fetch.forbidden",
            f"{self.section}: the store redirects to another host, which is not followed; set "
            f"{self.section}.endpoint, or {self.section}.region to the bucket's",
        )

    def superseded(self) -> Reject:
        return Reject(
            "fetch.superseded",
            f"{self.section}: the object's ETag is no longer the reference's; send version ids to "
            "read old ones",
        )

    def if_match(self, etag: str) -> str:
        """The value of the condition's header; ``etag`` without quotes.

        Raises:
            Reject: ``fetch.superseded``: no object can have such an ETag.
        """
        if not _ETAG.fullmatch(etag):
            raise self.superseded()
        return f'"{etag}"'

    def check_size(self, size_bytes: int, max_bytes: int) -> None:
        """Called before the bytes are read, and again while they are.

        Raises:
            Reject: ``fetch.too_large`` or ``fetch.empty``.
        """
        if size_bytes > max_bytes:
            raise Reject(
                "fetch.too_large",
                f"{self.section}: {size_bytes:,} bytes exceed fetch.max_bytes = {max_bytes:,}; "
                "raise the limit if such images are legitimate",
            )
        if size_bytes == 0:
            raise Reject(
                "fetch.empty", f"{self.section}: the object has no bytes; look at the uploader"
            )

    def check_complete(self, held_bytes: int, size_bytes: int) -> None:
        """Called after the body has ended.

        Raises:
            Retry: the body is shorter or longer than announced.
        """
        if held_bytes != size_bytes:
            raise self.unreachable(f"the body ended after {held_bytes:,} of {size_bytes:,} bytes")

    def checked(
        self,
        body: bytes,
        *,
        etag: str | None,
        version_id: str | None,
        content_encoding: str | None,
        wanted_etag: str | None,
        wanted_version_id: str | None,
    ) -> ObjectBody:
        """The object, if it is the requested one. Stores without versions or conditions ignore
        them.

        Raises:
            Reject: ``fetch.not_found`` or ``fetch.superseded``.
        """
        if wanted_version_id not in (None, "null", version_id):
            raise Reject(
                "fetch.not_found",
                f"{self.section}: the store returned another version than the one asked for; check "
                "that the bucket keeps versions",
            )
        if wanted_version_id is None and wanted_etag not in (None, etag):
            raise self.superseded()
        return ObjectBody(body, etag, version_id, content_encoding)
