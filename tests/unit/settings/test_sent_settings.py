"""No secret is in what the driver sends to its workers: each machine has its own."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from ray import cloudpickle

from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from pipeline.halts import Fault, fault_of
from pipeline.ports import Encoder
from workers.cluster.actors import Cluster
from workers.cluster.node_survey import survey
from workers.node_checks import examine_node
from workers.settings.catalogue import variable_of
from workers.settings.loading import CATALOGUE, Settings, load_settings
from workers.settings.sent import SentSettings, secrets_in_environment

SECRETS = [path for path, setting in CATALOGUE.settings.items() if setting.secret]


def with_secrets() -> Settings:
    """Every setting that is a secret is set, each to its own path backwards. No protocol uses all
    of them, so this is not validated."""
    settings = Settings(s3=S3Policy(allowed_buckets=("photos",)))
    for path in SECRETS:
        settings = changed(settings, path.split("."), SecretStr(path[::-1]))
    return settings


def changed(section: Any, path: list[str], value: SecretStr) -> Any:
    name, *rest = path
    part = changed(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: part})


def pickled(sent: object) -> bytes:
    """As Ray writes arguments."""
    raw: bytes = cloudpickle.dumps(sent)  # type: ignore[no-untyped-call]  # Ray has no types
    return raw


def model(settings: Settings) -> Encoder:
    raise NotImplementedError


def test_there_are_secrets_to_look_for() -> None:
    assert "kafka.security.password" in SECRETS
    raw = pickled(with_secrets())
    assert all(path[::-1].encode() in raw for path in SECRETS), "this is how they would be found"


def test_the_settings_that_are_sent_hold_no_secret_and_name_each() -> None:
    sent = SentSettings.of(with_secrets())
    assert sent.secrets == tuple(SECRETS)
    raw = pickled(sent)
    assert [path for path in SECRETS if path[::-1].encode() in raw] == []
    # Nothing else is changed.
    assert sent.settings == Settings(s3=S3Policy(allowed_buckets=("photos",)))


class RecordingRay:
    """As much of Ray's module as a driver uses; keeps the arguments of every remote call."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.environment: dict[str, str] = {}

    def init(self, **_: Any) -> None:
        self.environment = dict(os.environ)

    def nodes(self) -> list[dict[str, Any]]:
        node = {"NodeID": "a" * 56, "NodeManagerHostname": "host", "Alive": True}
        return [node | {"Resources": {"CPU": 4.0}}]

    def wait(self, calls: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return calls, []

    def shutdown(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.sent.append((arguments, options))
        return self


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RecordingRay:
    importlib.import_module("ray.util.scheduling_strategies")  # it stays Ray's own
    recording = RecordingRay()
    monkeypatch.setitem(sys.modules, "ray", recording)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for path in SECRETS:
        monkeypatch.delenv(variable_of(path), raising=False)
    return recording


def found_in(ray: RecordingRay) -> list[str]:
    """Secrets in the arguments of all calls."""
    raw = pickled([each for each in ray.sent if is_data(each)])
    return [path for path in SECRETS if path[::-1].encode() in raw]


def is_data(call: Any) -> bool:
    """Classes and Ray itself are no data of the driver."""
    arguments, _ = call
    return not any(isinstance(each, type | RecordingRay) for each in arguments)


def build(settings: Settings, slot: int) -> Any: ...


def test_no_secret_is_in_the_arguments_of_a_workers_actor(ray: RecordingRay) -> None:
    Cluster(with_secrets()).launch(build, 0)
    sent = [each for arguments, _ in ray.sent for each in arguments]
    assert any(isinstance(each, SentSettings) for each in sent), "settings were sent"
    assert found_in(ray) == []


def test_no_secret_is_in_what_doctor_sends_to_nodes(
    ray: RecordingRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr("workers.cluster.node_survey.start_ray", lambda cpus: None)
    monkeypatch.setattr("workers.cluster.node_survey._findings", lambda call: [])
    assert list(survey(with_secrets())) == []
    sent = [each for arguments, _ in ray.sent for each in arguments]
    assert any(isinstance(each, SentSettings) for each in sent), "settings were sent"
    assert found_in(ray) == []


def test_no_secret_is_in_the_plan_of_replicas() -> None:
    """``application`` and ``replica`` name Ray Serve's classes when they are imported."""
    from workers.cluster.reservation import Reservation
    from workers.cluster.serving.replica import Plan

    plan = Plan(SentSettings.of(with_secrets()), Reservation(0.0, 1.0, "a test"), 1, "board", model)
    raw = pickled(plan)
    assert [path for path in SECRETS if path[::-1].encode() in raw] == []


def test_a_ray_of_the_drivers_own_hands_secrets_on_and_this_process_keeps_none(
    ray: RecordingRay,
) -> None:
    """The daemons and workers that it starts inherit its environment."""
    Cluster(with_secrets())
    given = {path: ray.environment.get(variable_of(path)) for path in SECRETS}
    assert given == {path: path[::-1] for path in SECRETS}
    assert [path for path in SECRETS if variable_of(path) in os.environ] == []


def test_a_cluster_of_other_machines_is_handed_nothing(
    ray: RecordingRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr("workers.cluster.start._knock", lambda address: None)
    monkeypatch.setattr("workers.cluster.actors.DrainNotices", lambda: None)
    Cluster(with_secrets())
    assert [path for path in SECRETS if variable_of(path) in ray.environment] == []


def test_what_this_process_had_before_it_has_again(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "kafka.security.password"
    monkeypatch.setenv(variable_of(path), "of the environment")
    with secrets_in_environment(with_secrets()):
        assert os.environ[variable_of(path)] == path[::-1]
    assert os.environ[variable_of(path)] == "of the environment"


# -- in the worker ------------------------------------------------------------------------------


def secured(**environment: str) -> Settings:
    """As the driver has read them, its password in the environment."""
    return load_settings(
        environment={
            "CLIPSTREAM_KAFKA__SECURITY__PROTOCOL": "SASL_SSL",
            "CLIPSTREAM_KAFKA__SECURITY__SASL_MECHANISM": "PLAIN",
            "CLIPSTREAM_KAFKA__SECURITY__USERNAME": "clipstream",
            "CLIPSTREAM_KAFKA__SECURITY__PASSWORD": "pa55",
            **environment,
        }
    )


def test_a_worker_takes_the_secrets_of_its_own_environment() -> None:
    settings = secured()
    sent = SentSettings.of(settings)
    assert sent.resolved({variable_of("kafka.security.password"): "pa55"}) == settings
    renewed = sent.resolved({variable_of("kafka.security.password"): "n3w"})
    assert renewed.kafka.security.password == SecretStr("n3w")


def test_a_worker_takes_the_secrets_of_its_own_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("kafka: {security: {password: pa55}, group: another}\n")
    settings = secured()
    resolved = SentSettings.of(settings).resolved({"CLIPSTREAM_CONFIG": str(file)})
    assert resolved == settings, "nothing else of the file counts"


@pytest.mark.parametrize("environment", [{}, {variable_of("kafka.security.password"): ""}])
def test_a_machine_without_the_secret_is_at_fault_and_says_what_to_set(
    environment: dict[str, str],
) -> None:
    with pytest.raises(Halt, match=r"set CLIPSTREAM_KAFKA__SECURITY__PASSWORD") as caught:
        SentSettings.of(secured()).resolved(environment)
    assert caught.value.code == "settings.secret_missing"
    assert fault_of(caught.value.code) is Fault.NODE


def test_settings_without_secrets_need_nothing_of_the_machine() -> None:
    settings = Settings()
    broken = {"CLIPSTREAM_CONFIG": "/nope.yaml"}
    assert SentSettings.of(settings).resolved(broken) is settings


def test_doctor_names_the_node_that_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.node_checks.try_decoder", lambda settings: None)
    for path in SECRETS:
        monkeypatch.delenv(variable_of(path), raising=False)
    sent = SentSettings.of(secured())
    found = {each.check.subject: each.check for each in examine_node(sent, 0)}
    assert "kafka.security.password" in found["secrets"].message
    assert "certificates" not in found, "a key file without its password would ask a terminal"
    monkeypatch.setenv(variable_of("kafka.security.password"), "pa55")
    found = {each.check.subject: each.check for each in examine_node(sent, 0)}
    assert found["secrets"].message == "kafka.security.password can be had here"
    assert "certificates" in found
