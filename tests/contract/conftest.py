"""A store in front of a server that answers as it is told: for the tests of the object store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.adapters.s3.store import ObstoreS3
from tests.rigs.services import web_server
from tests.rigs.services.scripted_s3 import Script, credentials, found, opened, policy, serving


@pytest.fixture(scope="module")
def known() -> Iterator[None]:
    """The credentials of the scripted server are in the environment."""
    with credentials():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with serving() as script:
        yield script


@pytest.fixture
def script(server: Script) -> Script:
    """The server's script, which gives the object until a test says otherwise."""
    server.play(found())
    return server


@pytest.fixture(scope="module")
def store(server: Script, known: None) -> Iterator[ObstoreS3]:
    with opened(policy(server.endpoint)) as store:
        yield store


@pytest.fixture(scope="module")
def one_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web_server.Web]:
    yield from web_server.serving(tmp_path_factory.mktemp("web"))


@pytest.fixture
def web(one_web: web_server.Web) -> web_server.Web:
    """A web server without pages, and clients of it."""
    one_web.clear()
    return one_web
