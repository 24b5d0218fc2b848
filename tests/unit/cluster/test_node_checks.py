"""What a worker's node must have: found before a model is loaded, and told of every node."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pipeline.adapters.opentelemetry.policy import PACKAGES
from pipeline.errors import Halt
from pipeline.ports import Check, CheckResult
from tests.rigs.services.certificates import certified
from workers import node_checks
from workers.cluster.node_survey import Report, differences, survey
from workers.demo import shapes
from workers.node_checks import Finding, examine_node, require_node
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings
from workers.stream.wiring import build_stream_worker
from workers.supervise.node import Node

DEMO = Path(shapes.__file__).parent
A, B, C = (Node(letter * 56, f"host-{letter}") for letter in "abc")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)


def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's files."""
    shutil.copytree(DEMO / "model", tmp_path / "model")
    shutil.copy(DEMO / "labels.yaml", tmp_path / "labels.yaml")
    certified(tmp_path, "a.example.com")[0].rename(tmp_path / "web.pem")
    (tmp_path / "ca.pem").write_text("a certificate")
    return tmp_path


def settings_of(node: Path, **sections: Any) -> Settings:
    values = {
        "s3": {"allowed_buckets": ["photos"], "region": "us-east-1", "ca_file": node / "ca.pem"},
        "https": {"allowed_hosts": ["a.example.com"], "ca_file": node / "web.pem"},
        "model": {"directory": node / "model"},
        "label_sets": {"paths": [node / "labels.yaml"]},
    }
    return Settings.model_validate(values | sections)


def test_a_node_that_has_everything_passes(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_checks, "DEV", node)
    settings = settings_of(node)
    require_node(settings)
    findings = examine_node(SentSettings.of(settings), 0)
    assert {finding.check.result for finding in findings} == {CheckResult.PASSED}, findings
    assert [finding.check.subject for finding in findings] == [
        "secrets",
        "versions",
        "label sets",
        "model",
        "certificates",
        "credentials",
        "decoders",
        "devices",
    ]


def test_a_node_of_a_stream_without_a_store_is_refused(node: Path) -> None:
    with pytest.raises(Halt, match=r"s3\.allowed_buckets: is empty") as caught:
        require_node(settings_of(node, s3={}, https={}))
    assert caught.value.code == "settings.invalid"


def test_a_node_that_reads_web_servers_alone_needs_no_credentials(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_credentials(monkeypatch)
    settings = settings_of(node, s3={})
    require_node(settings)
    found = {each.check.subject: each.check for each in examine_node(SentSettings.of(settings), 0)}
    assert found["credentials"].result is CheckResult.PASSED
    assert found["credentials"].message == "none needed"
    assert str(node / "web.pem") in found["certificates"].message


def lose(*names: str) -> Any:
    def remove(node: Path, _: pytest.MonkeyPatch) -> None:
        for name in names:
            path = node / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def no_model(_: Settings) -> NoReturn:
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize("packages", [True, False])
def test_a_node_is_asked_for_the_packages_of_traces_if_they_are_on(
    packages: bool, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = settings_of(node, endpoints={"metrics_port": 0}, tracing={"enabled": True})
    if not packages:
        monkeypatch.setitem(sys.modules, PACKAGES[-1], None)
    found = {each.check.subject: each.check for each in examine_node(SentSettings.of(on), 0)}
    assert (found["tracing"].result is CheckResult.PASSED) is packages
    if not packages:
        assert "install clipstream[tracing]" in found["tracing"].message
        with pytest.raises(Halt) as caught:
            build_stream_worker(on, 0, no_model)
        assert caught.value.code == "tracing.packages_missing"


@pytest.mark.parametrize(
    ("happens", "code", "subject", "says"),
    [
        (lose("labels.yaml"), "label_set.invalid", "label sets", "labels.yaml: cannot be read"),
        (lose("model"), "model.not_found", "model", "model is not a directory"),
        (lose("ca.pem"), "s3.ca_file", "certificates", "ca.pem"),
        (lose("web.pem"), "https.ca_file", "certificates", "No such file"),
        (
            lambda _, patch: without_credentials(patch),
            "s3.no_credentials",
            "credentials",
            "no credentials in the environment",
        ),
    ],
)
def test_what_a_node_lacks_is_named_before_a_model_is_loaded(
    happens: Any, code: str, subject: str, says: str, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(node, endpoints={"metrics_port": 0})
    happens(node, monkeypatch)
    failed = [
        finding.check
        for finding in examine_node(SentSettings.of(settings), 0)
        if finding.check.result is CheckResult.FAILED
    ]
    assert [check.subject for check in failed] == [subject]
    assert says in failed[0].message

    with pytest.raises(Halt, match=says) as caught:
        build_stream_worker(settings, 0, no_model)
    assert caught.value.code == code


def test_what_a_further_store_needs_of_the_node_is_looked_at_too(node: Path) -> None:
    lab = {"name": "lab", "allowed_buckets": ["lab"], "profile": "lab"}
    settings = settings_of(node, stores=[lab | {"ca_file": node / "lab.pem"}])
    with pytest.raises(Halt, match=r"stores\[lab\]\.ca_file") as caught:
        require_node(settings)
    assert caught.value.code == "s3.ca_file"
    (node / "lab.pem").write_text("a certificate")
    with pytest.raises(Halt, match=r"check stores\[lab\]\.profile") as caught:
        require_node(settings)
    assert caught.value.code == "s3.session"
    failed = [
        finding.check.message
        for finding in examine_node(SentSettings.of(settings), 0)
        if finding.check.result is CheckResult.FAILED
    ]
    assert len(failed) == 1
    assert "stores[lab]" in failed[0]


def test_a_hub_cache_that_is_not_filled_is_a_failure_only_offline(node: Path) -> None:
    def result(*, offline: bool) -> Check:
        model = {"cache_directory": node / "cache", "offline": offline}
        findings = examine_node(SentSettings.of(settings_of(node, model=model)), 0)
        return next(each.check for each in findings if each.check.subject == "model")

    assert result(offline=True).result is CheckResult.FAILED
    download = result(offline=False)
    assert download.result is CheckResult.WARNING
    assert "each worker that starts here downloads it" in download.message


@pytest.mark.parametrize(
    ("reserved", "result"), [(2, CheckResult.PASSED), (0, CheckResult.WARNING)]
)
def test_devices_are_compared_with_those_that_ray_may_reserve(
    reserved: int, result: CheckResult, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (node / name).touch()
    monkeypatch.setattr(node_checks, "DEV", node)
    (check,) = [
        each.check
        for each in examine_node(SentSettings.of(settings_of(node)), reserved)
        if each.check.subject == "devices"
    ]
    assert check.result is result
    assert check.message.startswith(f"2 GPUs, of which Ray reserves {reserved}")


def finding(subject: str, content: str) -> Finding:
    return Finding(Check(subject, CheckResult.PASSED, content), content)


def report(node: Node, label_sets: str) -> Report:
    return Report(node, [finding("label sets", label_sets), finding("devices", "")])


def failures(checks: Iterator[Check]) -> list[str]:
    return [f"{check.subject}: {check.message}" for check in checks]


def test_nodes_that_hold_different_files_are_named_with_what_they_hold() -> None:
    same = [report(A, "one"), report(B, "one")]
    assert failures(differences(same)) == []
    # One that lacks them is told by its own check.
    lacking = Report(C, [Finding(Check("label sets", CheckResult.FAILED, "cannot be read"))])
    assert failures(differences([*same, lacking])) == []
    (told,) = failures(differences([*same, report(C, "other")]))
    assert told == (
        "all nodes: label sets: they are not the same: host-a (aaaaaaaa), host-b (bbbbbbbb): one; "
        "host-c (cccccccc): other; give every node the same"
    )


def test_without_a_cluster_there_are_no_nodes_to_check(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(Halt, match="RAY_ADDRESS is not set"):
        list(survey(settings_of(node)))
