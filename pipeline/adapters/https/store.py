"""Reads images from web servers through aiohttp. A message chooses what is read, so the host must
be on a list, its address must be public, and each redirect is checked like a reference."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urljoin
from weakref import WeakSet

import aiohttp
from yarl import URL

from pipeline.adapters.https import answers
from pipeline.adapters.https.guard import Rule, guarded_sockets, is_public
from pipeline.adapters.https.policy import ALLOW_LIST, HttpsPolicy
from pipeline.adapters.https.resolver import Resolver
from pipeline.errors import Halt, Reject
from pipeline.formats.https_url import PREFIX, HttpsUrl, parse
from pipeline.ports import OnAnswer
from pipeline.records import ObjectBody

_HEADERS = {
    "User-Agent": "clipstream",
    "Accept": "*/*",  # `image/*` would let a server choose another format than it keeps
    "Accept-Encoding": "identity",
}


CLOSE_S = 1.0
"""Longest wait for servers that are slow to end their connections."""

LOOK_S = 0.005


class HttpsStore:
    """Implements ``pipeline.ports.ObjectStore``: a bucket is a host, and a key the path behind the
    host's slash with the query, as both are sent (``https_url``).

    One call makes one request, and one more for each redirect. The object may be built in any
    thread. It belongs to the event loop that calls ``fetch`` first.

    ``rule`` says which addresses may be dialled, and ``resolver`` which addresses a host has. Only
    tests give others.

    Raises:
        Halt: the file of certificate authorities cannot be read.
    """

    def __init__(
        self, policy: HttpsPolicy, *, rule: Rule = is_public, resolver: Resolver | None = None
    ) -> None:
        self._policy = policy
        self._trust = trusted(policy)
        self._sockets = guarded_sockets(rule)
        self._resolver = resolver or Resolver()
        self._opened: WeakSet[socket.socket] = WeakSet()
        self._session: aiohttp.ClientSession | None = None

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
        if version_id is not None:
            raise answers.no_versions()
        headers = {} if etag is None else {"If-Match": answers.if_match(etag)}
        url = parse(f"{PREFIX}{bucket}/{key}", "the reference")
        try:
            for _ in range(self._policy.max_redirects + 1):
                async with self._answer(url, headers) as answer:
                    if answer.status not in answers.REDIRECTS:
                        return await _read(answer, etag, max_bytes, on_answer)
                    location = answer.headers.get("Location", "")
                url = self._target(url, location)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error's text may hold the URL with its query, so it is not chained.
            raise answers.trouble(error) from None
        raise answers.redirected(
            f"more than {self._policy.max_redirects} times (https.max_redirects); send the URL of "
            "the image itself"
        )

    async def close(self) -> None:
        """Release connections and threads. Reads in progress fail. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._disconnected(), CLOSE_S)
        await self._resolver.close()

    async def _disconnected(self) -> None:
        """The end of TLS is negotiated, and aiohttp waits for no connection that it gave up. A
        socket tells nobody of its end."""
        while any(each.fileno() >= 0 for each in list(self._opened)):  # noqa: ASYNC110 - has no event
            await asyncio.sleep(LOOK_S)

    @asynccontextmanager
    async def _answer(
        self, url: HttpsUrl, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        request = self._open().get(_as_sent(url), headers=headers, allow_redirects=False)
        async with request as answer:
            try:
                yield answer
            finally:
                # A connection with bytes that nobody wants. Its end is not negotiated, because the
                # server could take its time.
                rest = answer.connection
                if rest is not None and rest.transport is not None:
                    rest.transport.abort()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._trust,
                    resolver=self._resolver,
                    socket_factory=self._socket,
                    limit=0,  # the caller bounds the attempts
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None,  # the caller's deadline
                    connect=self._policy.connect_timeout_s,
                    sock_read=self._policy.read_timeout_s,
                ),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session

    def _socket(self, dialled: aiohttp.AddrInfoType) -> socket.socket:
        opened = self._sockets(dialled)
        self._opened.add(opened)
        return opened

    def _target(self, url: HttpsUrl, location: str) -> HttpsUrl:
        """Where a redirect leads.

        Raises:
            Reject: ``fetch.redirected``: not where a reference may lead.
        """
        # An empty location would lead to the URL itself.
        absolute = urljoin(str(_as_sent(url)), location)
        try:
            target = parse(absolute if location else "", "the target")
        except Reject as reject:
            raise answers.redirected(f"to no URL that is read: {reject.message}") from None
        if not self._policy.allows(target.host):
            raise answers.redirected(
                f"to {target.host}, which is not in {ALLOW_LIST}; add it there, or send the URL of "
                "the image itself"
            )
        return target


def trusted(policy: HttpsPolicy) -> ssl.SSLContext:
    """The certificate authorities that are trusted.

    Raises:
        Halt: ``https.ca_file``: the file cannot be read.
    """
    context = ssl.create_default_context()
    if policy.ca_file is not None:
        try:
            context.load_verify_locations(policy.ca_file)
        except OSError as error:  # ssl.SSLError is one
            detail = error.strerror or error
            raise Halt("https.ca_file", f"https.ca_file: {detail}; fix the file") from error
    return context


def _as_sent(url: HttpsUrl) -> URL:
    query = "" if url.query is None else f"?{url.query}"
    return URL(f"{PREFIX}{url.host}/{url.path}{query}", encoded=True)


async def _read(
    answer: aiohttp.ClientResponse,
    etag: str | None,
    max_bytes: int,
    on_answer: OnAnswer,
) -> ObjectBody:
    """The image that an answer holds."""
    if answer.status != 200:
        raise answers.failure(answer.status, answer.headers)
    found = answers.bare_etag(answer.headers.get("ETag"))
    if etag not in (None, found):
        raise answers.superseded()  # the server knows no conditions
    answers.check_size(answer.content_length or 0, max_bytes)
    if answer.content_length == 0:
        raise answers.empty()
    await on_answer(answer.content_length)
    chunks: list[bytes] = []
    held_bytes = 0
    async for chunk in answer.content.iter_any():
        held_bytes += len(chunk)
        answers.check_size(held_bytes, max_bytes)
        chunks.append(chunk)
    if not held_bytes:
        raise answers.empty()
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return ObjectBody(body, found, None, answer.headers.get("Content-Encoding"))
