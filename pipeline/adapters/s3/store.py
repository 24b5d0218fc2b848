"""Reads objects from S3 through obstore, and through boto3 if obstore would read another key."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, UnauthenticatedError
from obstore.store import S3Store

from pipeline.adapters.s3.answers import Answers, bare_etag
from pipeline.adapters.s3.connection import (
    Credentials,
    certificate_authorities,
    open_client,
    open_session,
)
from pipeline.adapters.s3.odd_keys import BotoReader
from pipeline.errors import PipelineError
from pipeline.ports import OnAnswer
from pipeline.records import ObjectBody

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

    from pipeline.adapters.s3.policy import S3Policy

_CHUNK_BYTES = 1024 * 1024

_MAX_STORES = 64
"""Most connection pools, one for each bucket, because a pattern in the allow-list may admit any
number of buckets. The least recently used pool goes first."""

_ODD_KEY_THREADS = 256
"""Created when needed. With fewer threads than attempts in progress, an attempt would spend its
time waiting for a thread, which is not the object's fault."""

_NO_LIMIT = timedelta(hours=1)
"""obstore limits a request to 30 s by default. The caller's deadline cancels the request
instead."""

_DEAD_PROXY = "http://127.0.0.1:0"
"""obstore always follows redirects. All hosts but the endpoint's are therefore sent to a proxy on
port 0, where nothing can listen."""
_DEAD_PROXY_REFUSED = re.compile(r"\n\s+127\.0\.0\.1:0,\n")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# obstore gives status and S3 error code only in its text. Its debug part quotes everything that
# comes from outside, so no key or body can imitate the line breaks that these patterns match.
_DEBUG_MARK = "\n\nDebug source:\n"
_STATUS = re.compile(r"\n\s+status: (\d{3}),\n")
_CODE = re.compile(r'\n\s+body: Some\(\n\s+"(?:[^"\\]|\\.)*?<Code>([\w.]+)</Code>')
_BARE_REDIRECT = re.compile(r"\n\s+inner: BareRedirect,")
_CERTIFICATE = re.compile(r"\n\s+error: InvalidCertificate\(\n")
_TIMEOUT = re.compile(r"\n\s+kind: Timeout,")
_ERROR_NUMBER = re.compile(r"\n\s+Os \{\n\s+code: (\d+),\n")
_DETAIL = re.compile(r'\n\s+(?:message|error): "([^"\n]*)"')


def reads_exactly(key: str) -> bool:
    """Whether obstore asks for exactly this key.

    obstore normalises paths: ``/a`` and ``a/`` silently become ``a``, while ``a//b``, ``.``, ``..``
    and control characters are refused. For S3 all these are ordinary keys.
    """
    return not _CONTROL.search(key) and all(
        segment not in ("", ".", "..") for segment in key.split("/")
    )


class ObstoreS3:
    """Implements ``pipeline.ports.ObjectStore``. One call makes one request.

    obstore needs a third of boto3's CPU time. The object may be built in one thread and used by the
    event loop of another.

    Raises:
        Halt: there are no credentials, or the file of certificate authorities cannot be read.
    """

    def __init__(self, policy: S3Policy) -> None:
        self._policy = policy
        session = open_session(policy)
        client = open_client(session, policy, attempts=1, connections=_ODD_KEY_THREADS)
        self._answers = Answers(policy.section)
        self._odd_keys = BotoReader(
            client,
            self._answers,
            requester_pays=policy.requester_pays,
            threads=_ODD_KEY_THREADS,
        )
        self._credentials = Credentials(session)
        # boto3 knows the endpoints of AWS. Both clients must use the same endpoint.
        self._endpoint = client.meta.endpoint_url
        self._region = client.meta.region_name
        self._options = _client_options(policy, self._endpoint)
        self._stores: dict[str, S3Store] = {}

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
        if not reads_exactly(key):
            return await self._odd_keys.fetch(
                bucket,
                key,
                version_id=version_id,
                etag=etag,
                max_bytes=max_bytes,
                on_answer=on_answer,
            )
        options: GetOptions = {}
        if version_id is not None:
            options["version"] = version_id
        elif etag is not None:
            options["if_match"] = self._answers.if_match(etag)
        chunks: list[bytes] = []
        held_bytes = 0
        stream = None
        try:
            result = await obstore.get_async(self._store(bucket), key, options=options)
            meta = result.meta
            stream = result.stream(min_chunk_size=_CHUNK_BYTES)
            self._answers.check_size(meta["size"], max_bytes)
            await on_answer(meta["size"])
            async for chunk in stream:
                held_bytes += len(chunk)
                self._answers.check_size(held_bytes, max_bytes)
                chunks.append(chunk)
                if held_bytes >= meta["size"]:
                    break  # waiting for the end would take another turn of the loop
            self._answers.check_complete(held_bytes, meta["size"])
        except (BaseError, FileNotFoundError) as error:
            # The error's text holds the key and a traceback of the credential provider, so it is
            # not chained.
            raise _failure(self._answers, error, versioned=version_id is not None) from None
        finally:
            # The stream owns the connection, which an exception's traceback would keep open.
            del stream
        return self._answers.checked(
            chunks[0] if len(chunks) == 1 else b"".join(chunks),
            etag=bare_etag(meta["e_tag"]),
            version_id=meta["version"],
            content_encoding=result.attributes.get("Content-Encoding"),
            wanted_etag=etag,
            wanted_version_id=version_id,
        )

    async def close(self) -> None:
        """Release connections and threads. Reads in progress fail."""
        self._stores.clear()
        self._odd_keys.close()

    def _store(self, bucket: str) -> S3Store:
        store = self._stores.pop(bucket, None)
        if store is None:
            if len(self._stores) >= _MAX_STORES:
                del self._stores[next(iter(self._stores))]
            in_host = self._policy.in_host(bucket)
            scheme, _, host = self._endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{host}" if in_host else self._endpoint
            # Every option is explicit, because obstore would fill gaps from environment variables.
            store = S3Store(
                bucket,
                endpoint=endpoint,
                aws_endpoint_url_s3=endpoint,
                region=self._region,
                virtual_hosted_style_request=in_host,
                skip_signature=False,
                s3_express=False,
                request_payer=self._policy.requester_pays,
                client_options=self._options,
                retry_config={"max_retries": 0},
                credential_provider=self._credentials,
            )
        self._stores[bucket] = store  # at the end, because the first is dropped first
        return store


def _client_options(policy: S3Policy, endpoint: str) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=policy.connect_timeout_s),
        "read_timeout": timedelta(seconds=policy.read_timeout_s),
        "timeout": _NO_LIMIT,
        "user_agent": "clipstream",
        "proxy_url": policy.proxy_url or _DEAD_PROXY,
    }
    if policy.proxy_url is None:
        options["proxy_excludes"] = urlsplit(endpoint).hostname or ""
    if (authorities := certificate_authorities(policy)) is not None:
        options["root_certificate"] = authorities
    return options


def _failure(answers: Answers, error: Exception, *, versioned: bool) -> PipelineError | OSError:
    """The pipeline's error for an exception of obstore."""
    _, _, debug = str(error).partition(_DEBUG_MARK)
    if status := _STATUS.search(debug):
        code = _CODE.search(debug)
        return answers.failure(int(status[1]), code and code[1], versioned=versioned)
    if isinstance(error, UnauthenticatedError):
        return answers.no_credentials("renewing them failed")
    if _BARE_REDIRECT.search(debug):
        return answers.failure(301, "PermanentRedirect", versioned=versioned)
    if _DEAD_PROXY_REFUSED.search(debug):
        return answers.redirected()
    if _CERTIFICATE.search(debug):
        return answers.untrusted()
    if _TIMEOUT.search(debug):
        return answers.silent("the store stayed silent too long")
    number = _ERROR_NUMBER.search(debug)
    if number and (shortage := answers.exhaustion(int(number[1]))):
        return shortage
    details = _DETAIL.findall(debug)
    return answers.unreachable(
        f"no valid answer ({details[-1]})" if details else "no valid answer from the store"
    )
