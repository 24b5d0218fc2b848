"""The gate before the application: decides whether a request is read at all. Pure ASGI.

``Gate`` goes through a request in this order: internal headers, key, draining, scope, rate, the
body's encoding, type and length, a slot. Only then is the body read, under a cap and a deadline,
and handed to the application. A refusal answers at once, and the body is not read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from pipeline.priority import FIRST
from workers.logs import REQUEST_ID
from workers.serve.admission.access import GONE, Access
from workers.serve.admission.answer import Answer
from workers.serve.admission.asgi import Application, Message, Receive, Send
from workers.serve.admission.body import Gone, read_body, too_large
from workers.serve.admission.families import FAMILIES, Families, Family
from workers.serve.admission.internal_headers import drop_internal
from workers.serve.admission.shares import Shares
from workers.serve.caller import ANYBODY, NOBODY, Admitted, Caller, require
from workers.serve.errors import ApiError, answer_of, overloaded
from workers.serve.services import Services

log = logging.getLogger(__name__)

REQUEST_ID_FORM = re.compile(rb"[A-Za-z0-9._-]{1,128}")
USER_FORM = re.compile(rb"[A-Za-z0-9._@+-]{1,254}")
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
RETRY_S = 0.5
DRAINING_RETRY_S = 1.0
WATCH_AFTER_S = 0.02
"""Most requests are answered sooner, and need no task that watches their connection."""
SMALL_BODY = 256 * 1024
"""Largest body that a server may read and drop after a refusal. For a larger one, or one of unknown
length, the connection is closed."""
INTERNAL = "the server failed; look at its log by the request id"
LOST = "this replica cannot answer any more and is replaced; try again"


class Gate:
    """Admits requests to an application.

    ``families`` says what the routes ask of requests. ``sets_request_id``: answers carry the header
    ``x-request-id``. Ray Serve sets it by itself, and a second one would be joined to its own.
    """

    def __init__(
        self,
        application: Application,
        services: Services,
        families: Iterable[Family] = FAMILIES,
        *,
        sets_request_id: bool = True,
    ) -> None:
        self._application = application
        self._services = services
        self._policy = services.settings.serve
        self._families = Families(families)
        self._sets_request_id = sets_request_id
        named = self._policy.identity_header
        self._identity = None if named is None else named.lower().encode()
        self._slots = Shares()
        self._access = Access(services.clock, services.meter)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            else:  # a WebSocket, which no route offers and no key would protect
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return
        drop_internal(scope)
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers)
        admitted = Admitted(NOBODY, request_id, self._services.memory.hold())
        scope.setdefault("state", {})["admitted"] = admitted
        family = self._families.of(scope["path"])
        answer = Answer(send, admitted, self._services.rates, self._sets_request_id)
        began_s = self._access.begin()
        standing = self._services.standing
        counts = not family.public and not standing.draining
        standing.in_flight += counts
        token = REQUEST_ID.set(request_id)
        try:
            await self._answer(scope, headers, family, receive, answer)
        finally:
            admitted.memory.give_back()
            standing.in_flight -= counts
            self._access.end(scope, family, admitted, answer.status or GONE, began_s)
            REQUEST_ID.reset(token)

    async def _answer(
        self,
        scope: Message,
        headers: Mapping[bytes, bytes],
        family: Family,
        receive: Receive,
        answer: Answer,
    ) -> None:
        """Answer with what the application says, or with a refusal."""
        admitted: Admitted = scope["state"]["admitted"]
        is_read = False
        try:
            admitted.caller = self._caller(scope, headers, family)
            admitted.memory.name = admitted.caller.name
            length = self._check(scope["method"], headers, family, admitted)
            body = await self._body(receive, admitted, length)
            is_read = True
            with self._slot(admitted.caller):
                await self._run(scope, body, receive, answer)
        except Gone:
            pass
        except ApiError as refused:
            self._access.refused(refused.code)
            told = answer_of(refused, admitted.request_id, scope["path"])
            await answer.refuse(*told, None if is_read or _stays_open(headers) else receive)
        except Exception:
            # The application has answered already, unless the defect is the gate's own.
            log.exception("a request failed unexpectedly")
            if not answer.status:
                failure = ApiError(500, "internal", INTERNAL)
                await answer.refuse(*answer_of(failure, admitted.request_id, scope["path"]), None)

    # -- what the head of a request decides -------------------------------------------------------

    def _caller(self, scope: Message, headers: Mapping[bytes, bytes], family: Family) -> Caller:
        keys = self._services.keys
        if family.public or scope["method"] == "OPTIONS":
            return ANYBODY if keys is None else NOBODY
        if keys is not None:
            caller = keys.caller(headers.get(b"authorization"))
            if caller.proxy and self._identity is not None:
                return replace(caller, user=_user(self._identity, scope["headers"]))
            return caller
        if _is_of_another_site(headers):
            raise ApiError(
                403,
                "cross_origin",
                "the request may come from a page of another site, and no key protects the "
                "server; call it as 127.0.0.1 or localhost, or configure serve.keys",
            )
        return ANYBODY

    def _check(
        self, method: str, headers: Mapping[bytes, bytes], family: Family, admitted: Admitted
    ) -> int | None:
        """Returns the declared length of the body; None: unknown."""
        if family.public or method == "OPTIONS":
            return _length(headers)
        caller, standing = admitted.caller, self._services.standing
        if standing.draining:
            raise ApiError(
                503,
                "draining",
                "the server ends; send the request again, another one answers",
                retry_after_s=DRAINING_RETRY_S,
            )
        if standing.failure is not None:
            raise ApiError(503, standing.failure.code, LOST, retry_after_s=DRAINING_RETRY_S)
        if family.scope is not None:
            require(caller, family.scope)
        if family.weighs and method in WITH_BODY:
            admitted.prepaid = 1
            if caller.rate is not None:
                self._services.rates.admit(caller.name, caller.rate)
        length = self._check_body(method, headers, family)
        self._require_slot(caller)
        if length:
            admitted.memory.require(length)
        return length

    def _check_body(
        self, method: str, headers: Mapping[bytes, bytes], family: Family
    ) -> int | None:
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            raise ApiError(
                415,
                "unsupported_content_encoding",
                "the body is compressed (Content-Encoding); send it as it is",
            )
        length = _length(headers)
        if method not in WITH_BODY or length == 0:
            return length
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if not family.accepts_type(kind.decode("latin-1")):
            known = ", ".join(sorted(each for each in family.accepts if each))
            shown = kind.decode("ascii", "replace")[:80] or "missing"
            raise ApiError(
                415,
                "unsupported_media_type",
                f"the Content-Type of the body is {shown}; send one of {known}",
            )
        most = self._policy.max_body_bytes
        if length is not None and length > most:
            raise too_large(length, most)
        return length

    # -- reading and answering --------------------------------------------------------------------

    async def _body(self, receive: Receive, admitted: Admitted, length: int | None) -> bytes:
        most, deadline_s = self._policy.max_body_bytes, self._policy.body_deadline_s
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return await read_body(receive, admitted.memory, most, length)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ApiError(
                400,
                "body_timeout",
                f"the body did not arrive within {deadline_s:g} s (serve.body_deadline_s); send "
                "it faster, or smaller images",
            ) from None

    async def _run(self, scope: Message, body: bytes, receive: Receive, answer: Answer) -> None:
        """Run the application, until its end, its deadline, or the end of the connection."""
        gone = asyncio.Event()
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            if first:
                return first.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            limit.reschedule(loop.time())

        def begin_to_watch() -> None:
            watchers.append(asyncio.create_task(watch(), name="watch of a connection"))

        loop = asyncio.get_running_loop()
        watchers: list[asyncio.Task[None]] = []
        deadline_s = self._policy.deadline_s
        try:
            async with asyncio.timeout(deadline_s) as limit:
                # A stream of events goes on for as long as its client listens.
                answer.on_event_stream = lambda: None if gone.is_set() else limit.reschedule(None)
                begin = loop.call_later(WATCH_AFTER_S, begin_to_watch)
                try:
                    await self._application(scope, replay, answer)
                finally:
                    begin.cancel()
                    for watcher in watchers:
                        watcher.cancel()
                        await asyncio.gather(watcher, return_exceptions=True)
        except TimeoutError:
            if not limit.expired():
                raise
            if gone.is_set():
                raise Gone from None
            if answer.status:
                log.warning("an answer that had begun was cut off after %g s", deadline_s)
                return
            raise ApiError(
                503,
                "deadline_exceeded",
                f"no answer within {deadline_s:g} s (serve.deadline_s); send fewer images at once",
                retry=False,
            ) from None

    @contextmanager
    def _slot(self, caller: Caller) -> Iterator[None]:
        """One of the requests in hand."""
        self._require_slot(caller)
        lower = caller.level > FIRST
        self._slots.take(caller.name, 1, lower=lower)
        try:
            yield
        finally:
            self._slots.give_back(caller.name, 1, lower=lower)

    def _require_slot(self, caller: Caller) -> None:
        most = self._policy.max_requests
        if not self._slots.room_for(caller.name, 1, most, lower=caller.level > FIRST):
            raise overloaded(
                f"the server has {self._slots.total} requests in hand against a bound of {most}; "
                "try again",
                RETRY_S,
            )


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's own, if it is safe to be logged; else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID_FORM.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _user(header: bytes, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The person whom a trusted proxy names. Named twice, one name may be the client's own."""
    names = [value for name, value in headers if name == header]
    if len(names) != 1 or not USER_FORM.fullmatch(names[0]):
        raise ApiError(
            401,
            "identity_missing",
            f"the header {header.decode()} must name the person who asks, once; let the proxy "
            "replace what the client sends (serve.identity_header)",
        )
    return names[0].decode()


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    """The declared length of the body; None: it is not declared."""
    declared = headers.get(b"content-length")
    if declared is None:
        return None
    if not declared.isdigit() or len(declared) > 18 or b"transfer-encoding" in headers:
        raise ApiError(
            400,
            "invalid_content_length",
            "the Content-Length is no number, or stands beside a Transfer-Encoding; send one sound "
            "length, or a chunked body",
        )
    return int(declared)


def _stays_open(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the server may read and drop the body that was not read."""
    if b"transfer-encoding" in headers:
        return False
    declared = headers.get(b"content-length", b"0")
    return declared.isdigit() and len(declared) < 18 and int(declared) <= SMALL_BODY


def _is_of_another_site(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser may have sent the request for a page that is not the console.

    A page of another site has another origin. A site whose name was changed to this machine's
    address (DNS rebinding) has the same origin, but a public name: one with a dot.
    """
    host = headers.get(b"host", b"").lower()
    origin = headers.get(b"origin")
    if origin is not None and origin.lower().partition(b"://")[2] != host:
        return True
    name = host.rpartition(b":")[0] or host
    is_address = name.startswith(b"[") or name.replace(b".", b"").isdigit()
    return b"." in name and not is_address
