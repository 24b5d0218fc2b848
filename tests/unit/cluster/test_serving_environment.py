"""What Ray Serve reads when it is imported. Its names are private, so that a release may change
them."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
from pathlib import Path

import pytest

from pipeline.errors import Halt
from workers.cluster.serving import environment
from workers.cluster.serving.environment import serve_environment, uses_haproxy, variables
from workers.cluster.serving.replica import Replica
from workers.settings.serve import ServePolicy

# Ray Serve's own models use a part of pydantic that pydantic calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def test_ray_serve_still_knows_every_variable_and_method_that_is_set_for_it() -> None:
    from ray.serve import context
    from ray.serve._private import client, constants, replica

    source = Path(constants.__file__).read_text()
    names = variables(haproxy=True, folder=Path("/tmp/x"))
    assert [name for name in names if f'"{name}"' not in source] == []
    assert hasattr(Replica, replica.SERVE_BUILD_ASGI_APP_METHOD)
    assert callable(context._get_global_client)
    assert hasattr(client.ServeControllerClient, "http_config")
    assert constants.RAY_SERVE_ENABLE_HA_PROXY is False  # nothing here sets it for other tests


def test_what_runs_before_ray_serve_reads_a_request_can_be_imported() -> None:
    module, _, name = environment.MIDDLEWARES.partition(":")
    (middleware,) = getattr(importlib.import_module(module), name)()
    from ray.serve._private.http_util import validate_http_proxy_callback_return

    assert validate_http_proxy_callback_return([middleware]) == [middleware]


def test_paths_of_sockets_are_short_enough_for_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "uses_haproxy", lambda _: True)
    before = dict(os.environ)
    with serve_environment(ServePolicy(), alone=True):
        socket = Path(os.environ["RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"])
        assert socket.parent.is_dir()
        # Ray Serve puts a folder of the node's id between.
        assert len(str(socket.parent / ("f" * 56) / socket.name)) <= 97
    assert not socket.parent.exists()
    assert dict(os.environ) == before


def test_values_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    names = variables(haproxy=False, folder=None)
    for name in names:
        monkeypatch.setenv(name, "the user's")
    with serve_environment(ServePolicy(proxy="python"), alone=False):
        assert {os.environ[name] for name in names} == {"the user's"}


@pytest.mark.parametrize(
    ("files", "connections"),
    [
        (4_096, 1_558),  # the least that the documentation asks for
        (20_000, 7_920),
        (50_199, 19_999),
        (1_048_576, 20_000),
        (resource.RLIM_INFINITY, 20_000),
    ],
)
def test_haproxy_takes_as_many_connections_as_open_files_allow(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, files))
    given = variables(haproxy=True, folder=Path("/tmp/x"))
    assert given["RAY_SERVE_HAPROXY_MAXCONN"] == str(connections)


@pytest.mark.parametrize(
    ("machine", "installed", "proxy", "used"),
    [
        ("x86_64", True, "auto", True),
        ("x86_64", True, "haproxy", True),
        ("x86_64", True, "python", False),
        ("x86_64", False, "auto", False),
        ("aarch64", True, "auto", False),
        ("aarch64", False, "python", False),
    ],
)
def test_haproxy_is_used_where_its_package_is(
    machine: str, installed: bool, proxy: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if installed else None)
    assert uses_haproxy(ServePolicy.model_validate({"proxy": proxy})) is used


def test_haproxy_that_is_asked_for_and_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(Halt, match="write python") as caught:
        uses_haproxy(ServePolicy(proxy="haproxy"))
    assert caught.value.code == "serve.proxy"
