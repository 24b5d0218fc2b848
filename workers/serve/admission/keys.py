"""The keys in force: who sent this request?"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import Halt
from pipeline.metrics import KEY_RELOADS, KEYS_REFUSED
from pipeline.ports import Clock, Meter
from workers.audit import Act, note
from workers.looks import Looks
from workers.serve.admission.key_file import KeyEntry, contents, digest, parsed, split
from workers.serve.caller import Caller
from workers.serve.errors import ApiError
from workers.settings.serve import ServePolicy

log = logging.getLogger(__name__)


class Keys:
    """The keys of a file or a folder. ``watch`` applies changes; each look applies what it sees.

    Files that cannot be read change nothing, are logged once, and count as a refused reload.
    """

    def __init__(self, path: Path, clock: Clock, meter: Meter) -> None:
        """Load the keys.

        Raises:
            Halt: ``keys.invalid``.
        """
        self._path = path
        self._clock = clock
        self._meter = meter
        self._looks: Looks | None = None
        self._refused = ""
        self._seen = contents(path)
        self._current = _callers(parsed(self._seen))
        # A counter that is born with its first event has no increase.
        for outcome in ("loaded", "refused"):
            meter.add(KEY_RELOADS, 0, outcome=outcome)

    def caller(self, authorization: bytes | None) -> Caller:
        """Who sent the header ``authorization``.

        Raises:
            ApiError: 401: there is no key, or it is not in force.
        """
        if authorization is None:
            raise _refused("missing_api_key", "the request has no key")
        kind, _, key = authorization.decode("latin-1").partition(" ")
        parts = split(key.strip()) if kind.lower() == "bearer" else None
        known = self._current.get(parts[0]) if parts else None
        if parts is None or known is None:
            raise _refused("invalid_api_key", "the key is not known")
        entry, caller = known
        if not hmac.compare_digest(digest(parts[1]), entry.sha256):
            raise _refused("invalid_api_key", "the key is not known")
        if not entry.is_live(self._clock.time()):
            raise _refused("expired_api_key", f"the key {entry.name!r} has expired")
        return caller

    def watch(self, interval_s: float) -> None:
        """Look at the files every ``interval_s`` seconds, in a thread."""
        self._looks = Looks(self.look, interval_s, "keys")

    def close(self) -> None:
        if self._looks is not None:
            self._looks.close()

    def look(self) -> None:
        """Apply a change of the files."""
        try:
            seen = contents(self._path)
            if seen == self._seen:
                self._accept()
                return
            current = _callers(parsed(seen))
        except Halt as invalid:
            if invalid.message != self._refused:  # told once, not at every look
                self._refused = invalid.message
                self._meter.add(KEY_RELOADS, outcome="refused")
                self._meter.set(KEYS_REFUSED, 1)
                log.error(  # noqa: TRY400 - an expected failure, its message says it all
                    "keys: the changed files cannot be used, the keys loaded before stay in "
                    "force: %s",
                    invalid.message,
                    extra={"code": invalid.code},
                )
            return
        gone = self._current.keys() - current.keys()
        new = current.keys() - self._current.keys()
        self._accept()
        self._seen, self._current = seen, current
        self._meter.add(KEY_RELOADS, outcome="loaded")
        changed = f"{len(new)} new, {len(gone)} revoked"
        note(Act.LOADED, "serve.keys", f"keys: {len(current)} in force, {changed}")

    def _accept(self) -> None:
        self._refused = ""
        self._meter.set(KEYS_REFUSED, 0)


def require_keys(policy: ServePolicy) -> None:
    """Refuse to listen where others can reach the port and no key protects it. Reads the keys, so
    that a mistake is found before anything starts.

    Raises:
        Halt: ``serve.no_keys``, ``keys.invalid``.
    """
    if policy.keys is not None:
        parsed(contents(policy.keys))
    elif not _is_loopback(policy.host):
        raise Halt(
            "serve.no_keys",
            f"serve.host: {policy.host} can be reached from elsewhere and serve.keys is not set; "
            "write a key with `clipstream keys create` and name its file in serve.keys, or listen "
            "on 127.0.0.1",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _callers(entries: tuple[KeyEntry, ...]) -> Mapping[str, tuple[KeyEntry, Caller]]:
    return {entry.id: (entry, entry.caller()) for entry in entries}


def _refused(code: str, why: str) -> ApiError:
    return ApiError(401, code, f"{why}; send a valid one as `Authorization: Bearer cs_…`")
