"""A driver that stops asks whether its pod comes back: a scale-in is told from a restart."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.rigs.services.api_server import PATH, TOKEN, ApiServer, api_server
from tests.rigs.services.certificates import certified
from tests.rigs.waiting import WAIT_S
from workers.kubernetes import api
from workers.kubernetes.policy import KubernetesPolicy
from workers.kubernetes.stateful_set import is_scaled_in, was_scaled_in

# -- the decision -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "spec", "gone"),
    [
        ("clipstream-0", {"replicas": 3}, False),
        ("clipstream-2", {"replicas": 3}, False),
        ("clipstream-3", {"replicas": 3}, True),
        ("clipstream-0", {"replicas": 0}, True),
        ("a-1-b-12", {"replicas": 12}, True),
        ("a-1-b-12", {"replicas": 13}, False),
        # Ordinals need not begin at 0.
        ("clipstream-7", {"replicas": 3, "ordinals": {"start": 5}}, False),
        ("clipstream-8", {"replicas": 3, "ordinals": {"start": 5}}, True),
        ("clipstream-4", {"replicas": 3, "ordinals": {"start": 5}}, True),
        ("clipstream-2", {"replicas": 3, "ordinals": {}}, False),
        ("clipstream-2", {"replicas": 3, "ordinals": None}, False),
    ],
)
def test_an_ordinal_that_is_wanted_no_more_was_scaled_in(
    pod: str, spec: dict[str, Any], gone: bool
) -> None:
    assert is_scaled_in(pod, {"spec": spec}) is gone


@pytest.mark.parametrize(
    ("pod", "object"),
    [
        ("clipstream", {"spec": {"replicas": 3}}),
        ("clipstream-7f9c4-x2x9q", {"spec": {"replicas": 3}}),
        ("clipstream-1", {}),
        ("clipstream-1", {"spec": None}),
        ("clipstream-1", {"spec": {}}),
        ("clipstream-1", {"spec": {"replicas": "3"}}),
        ("clipstream-1", {"spec": {"replicas": True}}),
        ("clipstream-1", {"spec": {"replicas": 3, "ordinals": {"start": "0"}}}),
    ],
)
def test_what_does_not_say_how_many_decides_nothing(pod: str, object: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no number at its end|does not say"):
        is_scaled_in(pod, object)


# -- the question -----------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(api, "STEP_S", WAIT_S)
    with api_server(tmp_path) as server:
        yield server


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


@pytest.mark.parametrize(("pod", "gone"), [("clipstream-2", False), ("clipstream-3", True)])
def test_the_api_server_is_asked_for_the_one_object(
    pod: str, gone: bool, server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert was_scaled_in(server.policy(pod)) is gone
    assert server.asked == [PATH]
    (line,) = (each.getMessage() for each in caplog.records)
    assert line.startswith(f"kubernetes: StatefulSet vision/clipstream wants pod {pod} ")


def test_the_pod_is_the_host_by_default(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "clipstream-3")
    assert was_scaled_in(server.policy("x-0").model_copy(update={"pod": None}))


def test_the_token_is_read_anew_each_time(server: ApiServer) -> None:
    policy = server.policy("clipstream-3")
    token = server.token_folder / "token"
    token.write_text("an old one")
    assert not was_scaled_in(policy)
    token.write_text(TOKEN)
    assert was_scaled_in(policy)


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (403, {"kind": "Status"}, "answers 403"),
        (404, {"kind": "Status"}, "answers 404"),
        (500, {"kind": "Status"}, "answers 500"),
        (200, b"<html>", "something else than an object"),
        (200, b"[" * 100_000, "something else than an object"),
        (200, [], "something else than an object"),
        (200, {"spec": {}}, "does not say how many replicas"),
    ],
)
def test_an_answer_that_decides_nothing_counts_as_a_restart(
    status: int, answer: Any, says: str, server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.status, server.answer = status, answer
    assert not was_scaled_in(server.policy("clipstream-3"))
    (line,) = warnings(caplog)
    assert says in line
    assert line.endswith("this stop counts as a restart")


def unset(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    return "KUBERNETES_SERVICE_HOST is not set"


def refuse(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    return "refused"


def lose_the_token(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    (server.token_folder / "token").unlink()
    return "No such file"


def garble_the_token(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    (server.token_folder / "token").write_bytes(b"secr\xe9t")
    return "a file is not text"


def lose_the_authority(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    (server.token_folder / "ca.crt").unlink()
    return "No such file"


def change_the_authority(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = server.token_folder.parent / "another"
    folder.mkdir()
    authority, _ = certified(folder, "127.0.0.1")
    (server.token_folder / "ca.crt").write_bytes(authority.read_bytes())
    return "CERTIFICATE_VERIFY_FAILED"


def name_another_host(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    return "CERTIFICATE_VERIFY_FAILED"


def misspell_the_port(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "https")
    return "invalid literal"


@pytest.mark.parametrize(
    "spoil",
    [
        unset,
        refuse,
        lose_the_token,
        garble_the_token,
        lose_the_authority,
        change_the_authority,
        name_another_host,
        misspell_the_port,
    ],
)
def test_an_api_server_that_cannot_be_asked_counts_as_a_restart(
    spoil: Any,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    says = spoil(server, monkeypatch)
    assert not was_scaled_in(server.policy("clipstream-3"))
    (line,) = warnings(caplog)
    assert says in line
    assert "secr" not in line
    assert TOKEN not in line


def test_a_server_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api, "STEP_S", 0.1)
    with (
        api_server(tmp_path) as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(silent.getsockname()[1]))
        assert not was_scaled_in(server.policy("clipstream-3"))
    assert "timed out" in warnings(caplog)[0]


def test_without_a_statefulset_nobody_is_asked(server: ApiServer) -> None:
    assert not was_scaled_in(KubernetesPolicy())
    assert server.asked == []


def test_half_a_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="set statefulset and namespace together"):
        KubernetesPolicy(statefulset="clipstream")
