"""docs/http-operations.md: its commands for keys run as they stand, and its settings are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.rigs.root import ROOT
from workers.cli import app
from workers.serve.admission.key_file import KeyEntry, parsed
from workers.settings.loading import CATALOGUE, load_settings

PAGE = (ROOT / "docs/http-operations.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^clipstream (keys .*?)(?: +#.*)?$", PAGE, re.MULTILINE)


def settings_shown() -> list[str]:
    """The YAML blocks that are settings."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if yaml.safe_load(block).keys() <= CATALOGUE.sections.keys()]


@pytest.mark.parametrize("block", settings_shown())
def test_settings_of_the_page_are_valid(block: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(block, encoding="utf-8")
    load_settings(file, environment={})


def test_the_page_shows_settings_of_the_server_and_of_web_images() -> None:
    shown = {section for block in settings_shown() for section in yaml.safe_load(block)}
    assert shown >= {"serve", "https"}


def test_commands_for_keys_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, key_id = tmp_path / "keys", "3f9c0a1b"
    entry = KeyEntry(id=key_id, name="another", sha256="0" * 64)
    file.write_text(entry.line(), encoding="utf-8")
    assert {command.split()[1] for command in COMMANDS} == {"create", "list", "revoke"}
    for command in COMMANDS:
        words = command.replace("/etc/clipstream/keys", "keys").replace("'", "").split()
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (command, done.output)
    left = parsed([(file, file.read_bytes())])
    assert key_id not in {each.id for each in left}
    assert {each.name for each in left} == {"shop"}
    assert any(each.images_per_s == 20 and each.label_sets == ("shop-*",) for each in left)
