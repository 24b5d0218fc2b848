"""``/`` and ``/console/…``: the files of the console. They need no key, and hold no data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request
from fastapi.responses import Response

from workers.serve.errors import ApiError

STATIC = Path(__file__).with_name("static")
INDEX = "index.html"

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
    }
)

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        # Scripts, styles and requests of this host alone. `blob:` and `data:` are images that the
        # page made itself, of files that were dropped and of thumbnails.
        "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        # The browser asks each time and is told "not modified": a new version shows at once.
        "cache-control": "no-cache",
    }
)


@dataclass(frozen=True, slots=True)
class Page:
    """One file of the console."""

    body: bytes
    content_type: str
    etag: str


def pages() -> Mapping[str, Page]:
    """The console's files by their path below ``static/``."""
    return {
        path.relative_to(STATIC).as_posix(): _page(path)
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _TYPES
    }


def console() -> APIRouter:
    """The routes of the console's files."""
    router = APIRouter(include_in_schema=False)
    files = pages()

    def answer(request: Request, name: str) -> Response:
        page = files.get(name)
        if page is None:
            raise ApiError(404, "not_found", f"the console has no file {name!r}; open /")
        headers = {**HEADERS, "etag": page.etag}
        if _has(request, page.etag):
            return Response(status_code=304, headers=headers)
        return Response(page.body, headers=headers, media_type=page.content_type)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return answer(request, INDEX)

    # Browsers ask for this one by themselves.
    @router.api_route("/favicon.ico", methods=["GET", "HEAD"])
    async def icon(request: Request) -> Response:
        return answer(request, "icon.svg")

    @router.api_route("/console/{name:path}", methods=["GET", "HEAD"])
    async def file(request: Request, name: str) -> Response:
        return answer(request, name)

    return router


def _page(path: Path) -> Page:
    body = path.read_bytes()
    return Page(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _has(request: Request, etag: str) -> bool:
    """Whether the browser has this version. A proxy that compresses marks it as weak, ``W/"…"``."""
    known = request.headers.get("if-none-match", "")
    return etag in (each.strip().removeprefix("W/") for each in known.split(","))
