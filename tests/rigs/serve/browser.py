"""Debian's Chromium, and a page that a test drives and whose complaints it hears."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DESKTOP = (1280, 800)
PHONE = (360, 740)
WAIT_MS = 20_000
"""Never met on a working system."""

_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Skips the test where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}; install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            # Containers have no user namespaces and a small /dev/shm.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page of the console, and what a careful visitor notices.

    ``complaints`` are errors and warnings of the browser's console, failures of scripts, violations
    of the policy, and requests to another host. A test removes those that it provokes with
    ``expect``.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(_VIOLATIONS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", self._request)

    def open(self, view: str = "") -> Page:
        self.page.goto(f"{self.url}/#{view}")
        self.page.wait_for_selector("main :is(h1, form)", state="attached")
        return self.page

    def expect(self, part: str) -> None:
        """Forget complaints that hold ``part``. There must be one."""
        assert any(part in each for each in self.complaints), self.complaints
        self.complaints = [each for each in self.complaints if part not in each]

    def width(self) -> tuple[int, int]:
        """Width of the window, and of what is in it."""
        widths: list[int] = self.page.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        )
        return widths[0], widths[1]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"blob", "data"} and parts.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"another host: {request.url}")


Visits = Callable[..., Visit]
"""Opens visitors; arguments are those of ``visit``."""


@contextmanager
def visit(
    browser: Browser, url: str, size: tuple[int, int] = DESKTOP, **context: Any
) -> Iterator[Visit]:
    """A new visitor: no key, no history. Complaints that are left fail the test."""
    opened = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale="en-GB", **context
    )
    try:
        visitor = Visit(opened.new_page(), url)
        yield visitor
        assert not visitor.complaints, "\n".join(visitor.complaints)
    finally:
        opened.close()
