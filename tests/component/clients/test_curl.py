"""`curl`, as the pages show it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component


def curl(*arguments: str) -> Any:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl on the PATH: apt-get install curl")
    done = subprocess.run(
        [program, "-sS", "--noproxy", "*", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_file_is_sent_as_it_is(server: Listening, red: bytes, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(red)
    found = curl(
        f"{server.url}/hf/image-classification",
        "--data-binary",
        f"@{file}",
        "-H",
        "Content-Type: image/png",
    )
    assert len(found) == 5


def test_a_moderation_is_a_line(server: Listening, red_uri: str) -> None:
    answer = curl(f"{server.openai_url}/moderations", "--json", json.dumps({"input": red_uri}))
    assert isinstance(answer["results"][0]["flagged"], bool)


def test_an_error_says_what_to_do(server: Listening) -> None:
    answer = curl(f"{server.openai_url}/embeddings", "--json", "{")
    assert answer["error"]["code"] == "invalid_json"
    assert "the body is no JSON" in answer["error"]["message"]
