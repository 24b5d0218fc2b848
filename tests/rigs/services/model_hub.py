"""A hub of models: the answers that its client downloads a model with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tests.rigs.services.scripted_s3 import Script, answer


class ModelHub(Script):
    """Has one model at one commit, and answers that it has no other commit. With ``token`` it
    answers nobody who does not bring it."""

    def __init__(
        self,
        name: str,
        revision: str,
        files: Mapping[str, bytes],
        host: str = "127.0.0.1",
        token: str = "",
    ) -> None:
        self.token = token
        self._revision = revision
        self._files = files
        self._tree = f"/api/models/{name}/tree/{revision}"
        self._resolve = f"/{name}/resolve/{revision}/"
        super().__init__(host)

    def answer_to(self, request: str) -> bytes:
        method, target, _ = request.split(" ", 2)
        reply = self._reply(target)
        head, end, _ = reply.partition(b"\r\n\r\n")
        return head + end if method == "HEAD" else reply

    def _reply(self, target: str) -> bytes:
        if self.token and self.header("authorization") != f"Bearer {self.token}":
            return answer("401 Unauthorized", X_Error_Code="GatedRepo")
        if target.partition("?")[0] == self._tree:
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": _digest(content)}
                for file, content in self._files.items()
            ]
            return answer("200 OK", json.dumps(tree).encode(), Content_Type="application/json")
        content = self._files.get(target.removeprefix(self._resolve))
        if content is None:
            return answer("404 Not Found", X_Error_Code="RevisionNotFound")
        etag = f'"{_digest(content)}"'
        return answer("200 OK", content, X_Repo_Commit=self._revision, ETag=etag)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
