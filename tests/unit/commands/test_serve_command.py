"""The driver of the HTTP application: what it refuses before Ray starts, what it prints, how it
drains, and when it ends by itself."""

from __future__ import annotations

import io
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.metrics import DRIVER_METRICS
from tests.rigs.root import ROOT
from workers.cluster.serving.application import ServeApplication
from workers.cluster.serving.board import Heard, Report, State
from workers.commands.serving import serve
from workers.commands.serving.sample import sample_png
from workers.commands.serving.serve import Driver, run_serve
from workers.endpoints.policy import EndpointsPolicy
from workers.settings.loading import Settings
from workers.settings.serve import ServePolicy
from workers.supervise.supervisor import ExitCode


def settings_of(**serve_policy: Any) -> Settings:
    return Settings(
        label_sets=LabelSetsPolicy(paths=(ROOT / "deploy/examples/label-sets",)),
        endpoints=EndpointsPolicy(health_port=0),
        serve=ServePolicy(**serve_policy),
    )


def heard(state: State = State.READY, in_flight: int = 0, **more: Any) -> Heard:
    return Heard(Report("a", "here", state, in_flight=in_flight, **more), 0, 0.0)


class Scripted:
    """An application whose replicas say what a test has written, one look after the other; the last
    word stays. Setting ``stopping`` is what a signal does."""

    def __init__(self, *looks: list[Heard], status: str = "RUNNING") -> None:
        self._looks = list(looks)
        self._status = status
        self.host, self.port = "127.0.0.1", 8123
        self.told: list[bool] = []
        self.abandoned = False
        self.stopping = threading.Event()
        self.said: list[str] = []

    def look(self, *, draining: bool) -> list[Heard]:
        self.told.append(draining)
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def abandon(self) -> None:
        self.abandoned = True

    def status(self) -> tuple[str, str]:
        return self._status, "the constructor raised"

    def run(self, settings: Settings | None = None) -> ExitCode:
        application = cast(ServeApplication, self)
        driver = Driver(
            settings or settings_of(), application, self.stopping, None, self.said.append
        )
        return driver.run(PrometheusMeter(DRIVER_METRICS))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "TICK_S", 0.0)
    monkeypatch.setattr(serve, "STATUS_S", 0.0)
    monkeypatch.setattr(serve, "_answers", lambda *_: True)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_said_before_ray_starts(taken_port: int) -> None:
    with pytest.raises(Halt, match=f"127.0.0.1:{taken_port} cannot be listened on") as caught:
        run_serve(settings_of(port=taken_port), print)
    assert caught.value.code == "serve.port_taken"


def test_an_address_that_others_reach_needs_keys() -> None:
    with pytest.raises(Halt) as caught:
        run_serve(settings_of(host="0.0.0.0"), print)
    assert caught.value.code == "serve.no_keys"


def test_the_line_to_try_is_printed_once_and_names_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, ends = heard(model="the model"), heard(model="the model", draining=True)
    application = Scripted([heard(State.STARTING)], *[[ready]] * 4, [ends])
    looks = application.look

    def look(*, draining: bool) -> list[Heard]:
        if len(application.told) == 4:
            application.stopping.set()
        return looks(draining=draining)

    monkeypatch.setattr(application, "look", look)
    assert application.run(settings_of(port=8123)) is ExitCode.OK
    first, line = application.said
    assert first.startswith("the model answers at http://127.0.0.1:8123")
    words = shlex.split(line)
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8123/v1/classify"]
    assert Path(words[-1].removeprefix("@")).read_bytes() == sample_png()


def test_the_image_to_try_is_a_red_circle() -> None:
    image = Image.open(io.BytesIO(sample_png()))
    image.load()
    red, ground = (214, 40, 40), (238, 238, 232)
    assert (image.getpixel((112, 112)), image.getpixel((2, 2))) == (red, ground)


def test_a_drain_waits_until_no_replica_has_a_request_in_flight() -> None:
    application = Scripted(
        [heard(in_flight=2)],
        [heard(in_flight=2, draining=True)],
        [heard(in_flight=1, draining=True)],
        [heard(in_flight=0, draining=True)],
    )
    application.stopping.set()
    assert application.run() is ExitCode.OK
    assert application.told == [True] * 4
    assert not application.abandoned


def test_a_drain_waits_for_a_replica_that_was_not_told_yet() -> None:
    application = Scripted([heard()], [heard()], [heard(draining=True)])
    application.stopping.set()
    assert application.run() is ExitCode.OK
    assert application.told == [True] * 3


def test_a_drain_ends_with_the_grace_period() -> None:
    application = Scripted([heard(in_flight=1, draining=True)])
    application.stopping.set()
    settings = settings_of()
    workers = settings.workers.model_copy(update={"grace_s": 0.05})
    assert application.run(settings.model_copy(update={"workers": workers})) is ExitCode.OK
    assert application.abandoned


def test_an_application_that_ray_serve_gives_up_is_a_crash_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Scripted([heard(State.STARTING)], status="DEPLOY_FAILED")
    assert application.run() is ExitCode.CRASH_LOOP
    assert "the constructor raised" in caplog.text


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("model.not_found", ExitCode.HALTED), ("label_set.invalid", ExitCode.USAGE)],
)
def test_a_halt_in_the_start_of_a_replica_ends_the_driver_as_a_halt_of_its_own_would(
    code: str, exit_code: ExitCode, caplog: pytest.LogCaptureFixture
) -> None:
    application = Scripted([heard(State.HALTED, code=code, message="what is wrong")])
    assert application.run() is exit_code
    assert f"{code}: what is wrong" in caplog.text
