"""One question to Kubernetes' API server, as a pod asks it."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

STEP_S = 2.0
"""Longest wait for each step of the question: connecting, the handshake, the answer. The pod has
little time left."""

MOST_BYTES = 4 * 1024 * 1024


class Unanswered(Exception):
    """Kubernetes did not answer the question. The message says why."""


def stateful_set(namespace: str, name: str, token_folder: Path) -> Mapping[str, Any]:
    """The object of a StatefulSet, as JSON has it. The server's address is that which the kubelet
    sets in every pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.

    Raises:
        Unanswered: no address, token or authority, no answer in time, or a refusal.
    """
    path = f"/apis/apps/v1/namespaces/{quote(namespace, '')}/statefulsets/{quote(name, '')}"
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Unanswered("KUBERNETES_SERVICE_HOST is not set: this is no pod")
    try:
        # Read each time, because the kubelet renews the token.
        token = (token_folder / "token").read_text(encoding="ascii").strip()
        context = ssl.create_default_context(cafile=str(token_folder / "ca.crt"))
        status, body = get(host, int(port), path, token, context)
    except (OSError, ValueError, http.client.HTTPException) as error:
        # An error of decoding quotes what it could not decode, which may be the token.
        why = "a file is not text" if isinstance(error, UnicodeError) else str(error)
        raise Unanswered(f"{host}:{port}: {why or type(error).__name__}") from None
    if status != HTTPStatus.OK:
        raise Unanswered(f"{host}:{port} answers {status} for {path}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Unanswered(f"{host}:{port} answers something else than an object for {path}")
    return answer


def get(host: str, port: int, path: str, token: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    """The status and the body, of at most ``MOST_BYTES``, with which the server answers for a path.

    Raises:
        OSError, http.client.HTTPException: no answer in time.
    """
    connection = http.client.HTTPSConnection(host, port, timeout=STEP_S, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(MOST_BYTES)
    finally:
        connection.close()
