"""Sends dead letters back to the stream: shown first, then sent as they were shown.

A token stands between the two. It names the selection, and the offsets up to which letters were
shown. So letters that arrive in between are not sent, and any replica can send what another one has
shown. It is not signed, because it gives no right: whoever sends needs the scope ``replay``, and
sends what their key may see. A letter is sent at most once whatever the token says, because the
transaction that sends it marks it.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import Counter
from dataclasses import dataclass, replace

from pydantic import BaseModel, ValidationError

from pipeline.ports import Clock
from pipeline.records import Record
from pipeline.replay import Found, Search, Selection
from workers.audit import Act, note
from workers.serve.caller import Caller
from workers.serve.errors import ApiError
from workers.serve.live.outcome import Object, outcome_of
from workers.serve.live.topics import Topics

GOOD_S = 600.0
"""Seconds for which a token is good."""

DEADLINE_S = 45.0
"""Seconds that looking for letters may take."""

MOST_LETTERS = 100_000
"""Letters that one replay may send. The command has no such bound."""


class _Token(BaseModel, frozen=True):
    once: str
    shown_at: float
    key: str
    selection: Selection
    limit: int | None
    upto: dict[int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which letters to replay, as a request says it. ``limit``: at most so many."""

    selection: Selection
    limit: int | None = None


class Replays:
    """Belongs to one event loop."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._used: dict[str, float] = {}
        self._sending: asyncio.Task[Object] | None = None

    async def show(self, caller: Caller, asked: Asked) -> Object:
        """What would be sent, with a token to send it.

        Raises:
            ApiError: 400: there are too many letters, or they cannot be read in time.
            Retry: the broker does not answer.
            Halt: not allowed, or a topic is missing.
        """
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._topics.find, _search(caller, asked), self._told())
        if len(found.due) > MOST_LETTERS:
            raise ApiError(
                400,
                "replay_too_large",
                f"{len(found.due)} letters against {MOST_LETTERS} that one replay may send; name "
                "fewer codes, a shorter time or a limit, or run `clipstream replay`",
            )
        token = _Token(
            once=secrets.token_urlsafe(12),
            shown_at=self._clock.time(),
            key=caller.name,
            selection=asked.selection,
            limit=asked.limit,
            upto=found.upto,
        )
        return {
            "would_send": len(found.due),
            "skipped": _skipped(found),
            "topics": dict(Counter(due.topic for due in found.due.values())),
            "codes": dict(Counter(due.code for due in found.due.values())),
            "token": base64.urlsafe_b64encode(token.model_dump_json().encode()).decode(),
        }

    async def send(self, caller: Caller, asked: Asked, token: str | None) -> Object:
        """Send what was shown. Letters that were replayed meanwhile are left.

        Raises:
            ApiError: 400: nothing of the kind was shown, or it was sent already.
            Retry: the broker does not answer. Letters that were sent are marked.
            Halt: not allowed, or another replay of the stream's group runs.
        """
        shown = self._shown(caller, asked, token)
        self._used[shown.once] = shown.shown_at
        # Goes on when whoever asked has gone: a second replay would end the first one half-way.
        self._sending = asyncio.create_task(self._send(caller, asked, shown))
        return await asyncio.shield(self._sending)

    async def _send(self, caller: Caller, asked: Asked, shown: _Token) -> Object:
        # The offsets do what the limit did.
        search = replace(_search(caller, asked), limit=None, upto=shown.upto)
        said = f"{asked.selection}, limit {asked.limit}"
        who = f"key {caller.told}"
        note(Act.REPLAYED, who, f"begins, {said}")
        try:
            async with self._one_at_a_time:
                sent, found = await asyncio.to_thread(self._topics.replay, search, self._told())
        except BaseException as failed:
            note(Act.REPLAYED, who, f"ended early ({failed}), {said}")
            raise
        note(Act.REPLAYED, who, f"sent {sent} dead letters, {said}")
        return {"sent": sent, "skipped": _skipped(found)}

    def _shown(self, caller: Caller, asked: Asked, token: str | None) -> _Token:
        now = self._clock.time()
        self._used = {once: at for once, at in self._used.items() if now - at < GOOD_S}
        try:
            shown = _Token.model_validate_json(base64.urlsafe_b64decode(token or ""))
        except (ValueError, ValidationError):
            raise _not_shown("the token is missing or not one of ours") from None
        if (shown.key, shown.selection, shown.limit) != (
            caller.name,
            asked.selection,
            asked.limit,
        ):
            raise _not_shown("the token is of another selection or key")
        if shown.once in self._used:
            raise _not_shown("the token was used before")
        if not 0 <= now - shown.shown_at < GOOD_S:
            raise _not_shown(f"the token is older than {GOOD_S / 60:.0f} minutes")
        return shown

    def _told(self) -> _Deadline:
        return _Deadline(self._clock)


class _Deadline:
    """Ends a search that takes too long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic() + DEADLINE_S

    def __call__(self, read: int) -> None:
        if self._clock.monotonic() > self._at:
            raise ApiError(
                400,
                "replay_too_large",
                f"the dead letters cannot be read within {DEADLINE_S:g} s ({read} were read); run "
                "`clipstream replay`",
            )


def _search(caller: Caller, asked: Asked) -> Search:
    def allowed(record: Record) -> bool:
        outcome = outcome_of(record)
        return outcome is not None and outcome.seen_by(caller) is not None

    return Search(asked.selection, asked.limit, allowed=allowed)


def _skipped(found: Found) -> Object:
    return {str(why): count for why, count in found.left.items()}


def _not_shown(why: str) -> ApiError:
    return ApiError(
        400,
        "replay_not_shown",
        f"{why}; ask without `publish` first, look at the answer, and send its token",
    )
