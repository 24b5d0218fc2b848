"""The files of the console over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import re

import pytest

from tests.rigs.root import ROOT
from tests.rigs.serve.application import application, served
from workers.serve.console.pages import STATIC, pages
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component]

HTM_PREACT_SHA256 = "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
"""Of htm/preact/standalone.module.js in htm 3.1.1, as the npm registry has it."""


def test_the_page_and_its_files_are_served_under_a_strict_policy() -> None:
    async def ask() -> None:
        async with application() as (client, _):
            for path in ("/", "/favicon.ico", *(f"/console/{name}" for name in pages())):
                answer = await client.get(path)
                assert answer.status_code == 200, path
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'self'; img-src 'self' blob: data:; ")
                for part in ("frame-ancestors", "base-uri", "form-action", "object-src"):
                    assert f"{part} 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["cache-control"] == "no-cache"

    asyncio.run(ask())


def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    async def ask() -> None:
        async with application() as (client, _):
            first = await client.get("/console/app.js")
            etag = first.headers["etag"]
            for known in (etag, f"W/{etag}", f'"other", {etag}'):
                again = await client.get("/console/app.js", headers={"if-none-match": known})
                assert (again.status_code, again.content) == (304, b"")
            changed = await client.get("/console/app.js", headers={"if-none-match": '"older"'})
            assert changed.content == first.content
            assert (await client.head("/")).content == b""

    asyncio.run(ask())


@pytest.mark.parametrize(
    "path", ["/console/", "/console/../pages.py", "/console/%2e%2e/pages.py", "/console/absent.js"]
)
def test_nothing_else_is_served(path: str) -> None:
    async def ask() -> None:
        async with application() as (client, _):
            assert (await client.get(path)).status_code == 404

    asyncio.run(ask())


def test_the_console_can_be_switched_off() -> None:
    async def ask() -> None:
        async with application(served(serve=ServePolicy(console=False))) as (client, _):
            for path in ("/", "/favicon.ico", "/console/app.js"):
                assert (await client.get(path)).status_code == 404

    asyncio.run(ask())


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:href|src)="console/([^"]+)"', pages()["index.html"].body.decode())
    assert len(named) > 5
    assert set(named) <= pages().keys()


def test_no_script_or_style_stands_in_the_page() -> None:
    page = pages()["index.html"].body.decode()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for path in STATIC.rglob("*.js"):
        if path.parent.name != "vendor":
            assert "dangerouslySetInnerHTML" not in path.read_text(), path


def test_the_vendored_library_is_the_published_one() -> None:
    vendored = pages()["vendor/htm-preact.js"].body
    assert hashlib.sha256(vendored).hexdigest() == HTM_PREACT_SHA256
    licences = pages()["vendor/LICENSES.txt"].body.decode()
    assert HTM_PREACT_SHA256 in licences
    assert "Apache License" in licences
    assert "The MIT License" in licences


def test_the_pictures_of_the_docs_are_there_and_of_a_moderate_size() -> None:
    # By name: the module that draws them needs a browser.
    pictures = sorted(path.name for path in (ROOT / "docs/images").glob("console-*.png"))
    named = re.findall(
        r'"(console-[a-z-]+\.png)",', (ROOT / "tests/component/console/pictures.py").read_text()
    )
    assert pictures == sorted(named)
    for name in pictures:
        picture = (ROOT / "docs/images" / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 200_000, name
