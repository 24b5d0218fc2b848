"""`clipstream keys` writes hashed keys, and shows a key once."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.errors import Halt
from workers.audit import operator
from workers.commands.keys import app
from workers.serve.admission.key_file import HEADER, contents, digest, parsed, split

Invoke = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def invoke(file: Path) -> Invoke:
    def run(*arguments: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments, "--file", str(file)])

    return run


def key_of(result: Result) -> tuple[str, str]:
    """The id and the secret that a command has printed."""
    assert result.exit_code == 0, result.output
    parts = split(result.stdout.strip())
    assert parts is not None
    return parts


def test_a_key_is_shown_once_and_its_hash_is_written(invoke: Invoke, file: Path) -> None:
    key_id, secret = key_of(invoke("create", "shop"))

    (entry,) = parsed(contents(file))
    assert (entry.id, entry.name, entry.sha256) == (key_id, "shop", digest(secret))
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [file.name], "nothing is left over"
    listed = invoke("list")
    assert all(each in listed.output for each in (key_id, "shop", "classify", "all", "any"))
    assert digest(secret)[:20] not in listed.output


def test_an_id_stands_whole_in_a_narrow_terminal(invoke: Invoke, file: Path) -> None:
    key_id, _ = key_of(invoke("create", "shop", "--label-set", "shop-*", "--expires", "90d"))
    listed = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["list", "--file", str(file)])
    assert key_id in listed.output


def test_every_option_is_a_field(invoke: Invoke, file: Path) -> None:
    options = (
        *("--rate", "0.5", "--burst", "9", "--expires", "2031-01-31T00:00:00Z"),
        *("--scope", "classify", "--scope", "dead-letters", "--label-set", "pets"),
        *("--tenant", "acme", "--objects", "photos/", "--ignore-text", "--priority", "batch"),
        "--proxy",
    )
    key_of(invoke("create", "shop", *options))

    line = json.loads(file.read_text().removeprefix(HEADER))
    assert line | {"id": "", "sha256": ""} == {
        "id": "",
        "name": "shop",
        "sha256": "",
        "expires": "2031-01-31T00:00:00Z",
        "images_per_s": 0.5,
        "burst": 9,
        "scopes": ["classify", "dead-letters"],
        "label_sets": ["pets"],
        "tenants": ["acme"],
        "objects": ["photos/"],
        "ignore_text": True,
        "priority": "batch",
        "proxy": True,
    }
    listed = invoke("list").output
    assert "batch until 2031-01-31 00:00 UTC" in " ".join(listed.split())
    assert "ignore-text" in listed


def test_a_rate_alone_allows_ten_seconds_at_once(invoke: Invoke, file: Path) -> None:
    invoke("create", "shop", "--rate", "3", "--expires", "90d")
    (entry,) = parsed(contents(file))
    assert entry.burst == 30
    assert entry.expires is not None


def test_printing_writes_no_file_and_keeps_line_and_key_apart(invoke: Invoke, file: Path) -> None:
    result = invoke("create", "shop", "--print")
    assert not file.exists()
    (entry,) = parsed([(file, result.stdout.encode())])
    key = split(result.stderr.strip().rpartition(" ")[2])
    assert key is not None
    assert entry.sha256 == digest(key[1])


def test_a_third_live_key_of_a_name_is_refused(invoke: Invoke, file: Path) -> None:
    first, _ = key_of(invoke("create", "shop"))
    key_of(invoke("create", "shop"))
    key_of(invoke("create", "archive"))

    refused = invoke("create", "shop")
    assert isinstance(refused.exception, Halt)
    assert refused.exception.code == "keys.too_many_live"
    assert f"keys revoke {first}" in refused.exception.message

    assert invoke("revoke", first).exit_code == 0
    key_of(invoke("create", "shop"))


def test_an_expired_key_makes_room_for_another(invoke: Invoke) -> None:
    for _ in range(3):
        key_of(invoke("create", "shop", "--expires", "2020-01-01T00:00:00Z"))
    assert "expired 2020-01-01" in invoke("list").output


def test_a_revoked_key_is_gone_and_all_else_stays(invoke: Invoke, file: Path) -> None:
    first, _ = key_of(invoke("create", "shop"))
    second, _ = key_of(invoke("create", "archive"))
    file.write_text("# mine\n" + file.read_text())

    assert invoke("revoke", first).exit_code == 0

    assert [entry.id for entry in parsed(contents(file))] == [second]
    assert file.read_text().startswith("# mine\n" + HEADER)
    assert invoke("revoke", second).exit_code == 0
    assert parsed(contents(file)) == ()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_in_place_of_an_id_is_answered_with_its_ids(invoke: Invoke) -> None:
    first, _ = key_of(invoke("create", "shop"))
    refused = invoke("revoke", "shop")
    assert isinstance(refused.exception, Halt)
    assert refused.exception.code == "keys.unknown"
    assert first in refused.exception.message


@pytest.mark.parametrize(
    "options",
    [
        ("a b",),
        ("",),
        ("shop", "--expires", "tomorrow"),
        ("shop", "--expires", "2031-01-31"),
        ("shop", "--burst", "3"),
        ("shop", "--scope", "everything"),
        ("shop", "--priority", "high"),
    ],
)
def test_a_mistake_writes_nothing(options: tuple[str, ...], invoke: Invoke, file: Path) -> None:
    assert invoke("create", *options).exit_code == 2
    assert not file.exists()


def test_a_file_that_is_not_valid_is_left_alone(invoke: Invoke, file: Path) -> None:
    file.write_text("{}\n")
    for arguments in (("create", "shop"), ("list",), ("revoke", "abcdef")):
        refused = invoke(*arguments)
        assert isinstance(refused.exception, Halt)
        assert refused.exception.code == "keys.invalid"
    assert file.read_text() == "{}\n"


def test_a_folder_is_only_read(invoke: Invoke, file: Path) -> None:
    file.mkdir()
    refused = invoke("create", "shop")
    assert isinstance(refused.exception, Halt)
    assert refused.exception.code == "keys.unwritable"


def test_the_file_may_come_from_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "from-settings"
    arguments = ["create", "shop", "--set", f"serve.keys={path}"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert len(parsed(contents(path))) == 1


def test_the_audit_log_says_who_made_and_revoked_a_key_and_never_the_key(
    invoke: Invoke, file: Path
) -> None:
    made = invoke("create", "shop", "--set", "log.format=json", "--set", "log.level=error")
    key_id, secret = key_of(made)
    printed = invoke("create", "other", "--print", "--set", "log.format=json")
    gone = invoke("revoke", key_id, "--set", "log.format=json")
    acts = []
    for result in (made, printed, gone):
        (line,) = [each for each in result.stderr.splitlines() if each.startswith("{")]
        said = json.loads(line)
        assert (said["logger"], said["who"]) == ("clipstream.audit", operator())
        assert secret not in line
        acts.append((said["act"], said["what"]))
    assert acts[0] == ("created", f"key {key_id} of shop in {file}")
    assert acts[1][0] == "created"
    assert acts[1][1].endswith(" of other, printed")
    assert acts[2] == ("revoked", f"key {key_id} of shop in {file}")


@pytest.mark.usefixtures("no_settings_around")
def test_without_any_file_the_command_says_what_to_write() -> None:
    refused = CliRunner().invoke(app, ["list"])
    assert isinstance(refused.exception, Halt)
    assert refused.exception.code == "keys.no_file"


def test_a_link_to_the_file_stays_a_link(invoke: Invoke, file: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(HEADER)
    file.symlink_to(real)
    key_of(invoke("create", "shop"))
    assert file.is_symlink()
    assert len(parsed(contents(real))) == 1
