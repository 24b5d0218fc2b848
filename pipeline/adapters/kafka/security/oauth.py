"""Bearer tokens for Kafka's OAUTHBEARER (RFC 7628): from a file that another program renews, or by
the client credentials grant of OAuth 2.0 (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import http.client
import json
import math
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka.errors import KafkaConnectionError
from kafka.net.sasl.oauth import AbstractTokenProvider

TIMEOUT_S = 10.0
RENEWED_AT = 0.8
"""Share of a token's life after which a new token is requested."""
UNSTATED_LIFE_S = 60.0
"""Life of a token if its issuer does not state it."""
MAX_ANSWER_BYTES = 1 << 20


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """Reads the file at each connection, so that a renewed token is used."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def token(self) -> str:
        """The token.

        Raises:
            KafkaConnectionError: the file cannot be read, or is empty; the client tries again.
        """
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise KafkaConnectionError(
                f"kafka.security.oauth_token_file: {self._path} cannot be read ({error.strerror})"
            ) from error
        except UnicodeDecodeError:
            # Not the error itself, which quotes the file's contents.
            raise KafkaConnectionError(
                f"kafka.security.oauth_token_file: {self._path} holds no token, which is ASCII text"
            ) from None
        if not token:
            raise KafkaConnectionError(f"kafka.security.oauth_token_file: {self._path} is empty")
        return token


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Asks a token endpoint, and keeps the answer for most of its life. Clients in several threads
    may share it."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        # RFC 6749, section 2.3.1: both parts are form-encoded before they are joined.
        pair = ":".join(urllib.parse.quote_plus(part) for part in (client_id, client_secret))
        self._request = urllib.request.Request(  # noqa: S310 - the settings allow http and https
            url,
            data=urllib.parse.urlencode(form).encode(),
            headers={
                "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
                "Accept": "application/json",
            },
        )
        self._url = url
        self._monotonic = monotonic
        self._asking = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """The token.

        Raises:
            KafkaConnectionError: the endpoint does not answer, or gives a wrong answer; the client
                tries again.
        """
        with self._asking:
            if not self._token or self._monotonic() >= self._renew_at:
                asked_at = self._monotonic()
                answer = self._ask()
                self._token = answer["access_token"]
                self._renew_at = asked_at + RENEWED_AT * _life_s(answer.get("expires_in"))
            return self._token

    def _ask(self) -> dict[str, Any]:
        where = f"kafka.security.oauth_token_url: {self._url}"
        try:
            with urllib.request.urlopen(self._request, timeout=TIMEOUT_S) as response:  # noqa: S310
                answer = json.loads(response.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            # Not the answer's body, which may repeat what was sent.
            raise KafkaConnectionError(f"{where} answers {error.code} {error.reason}") from None
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise KafkaConnectionError(f"{where} cannot be used ({error})") from None
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise KafkaConnectionError(f"{where} answers without an access_token")
        return dict(answer)


def _life_s(stated: object) -> float:
    """The seconds in ``expires_in``. Some issuers write null or a string; anything that is not a
    number counts as not stated."""
    try:
        life_s = float(stated) if isinstance(stated, int | float | str) else math.nan
    except (ValueError, OverflowError):
        life_s = math.nan
    return life_s if math.isfinite(life_s) else UNSTATED_LIFE_S
