"""One server for all tests of the console, and a visitor for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser

from tests.rigs.serve.browser import Visit, Visits, chromium, visit

if TYPE_CHECKING:
    from tests.rigs.serve.scripted_api import ScriptedApi


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ScriptedApi]]:
    # pytest reads this file before it knows which warnings of kafka-python are to be ignored.
    from tests.rigs.serve.console_server import console_server, load_encoder

    with console_server(tmp_path_factory.mktemp("console"), load_encoder()) as server:
        yield server


@pytest.fixture
def api(browser: Browser, server: tuple[str, ScriptedApi]) -> ScriptedApi:
    """What the server says beside classifications, as at the start."""
    server[1].reset()
    return server[1]


@pytest.fixture
def visits(browser: Browser, server: tuple[str, ScriptedApi], api: ScriptedApi) -> Iterator[Visits]:
    """Opens visitors: ``visits(size=…, color_scheme=…)``."""
    with ExitStack() as opened:

        def new(**given: Any) -> Visit:
            entered: AbstractContextManager[Visit] = visit(browser, server[0], **given)
            return opened.enter_context(entered)

        yield new


@pytest.fixture
def visitor(visits: Visits) -> Visit:
    return visits()
