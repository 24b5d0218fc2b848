"""OpenAI's client for JavaScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.dev import javascript_client

if TYPE_CHECKING:
    from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component

SCRIPT = Path(__file__).with_name("openai_javascript.mjs")
MODEL = "openai/clip-vit-base-patch32"


@pytest.fixture(scope="module")
def node() -> str:
    program = shutil.which("node")
    if program is None or not javascript_client.available():
        pytest.skip(javascript_client.WHAT_IT_NEEDS)
    return program


def test_the_javascript_client_reads_answers_and_errors(
    node: str, server: Listening, red_uri: str, tmp_path: Path
) -> None:
    # A module finds packages beside itself.
    (tmp_path / "node_modules").symlink_to(javascript_client.modules())
    script = shutil.copy(SCRIPT, tmp_path)
    done = subprocess.run(
        [node, script, server.openai_url, red_uri],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    # The client asks for base64 and decodes it.
    assert np.array_equal(np.float32(told["default"]), np.float32(told["floats"]))
    assert len(told["default"]) == 2
    (result,) = told["moderation"]["results"]
    assert told["parts"]["results"] == [result]
    assert isinstance(result["categories"]["violence/graphic"], bool)
    assert isinstance(result["categories"]["weapon"], bool)
    assert told["models"] == [MODEL, "general-objects", "moderation"]
    assert told["retrieved"] == MODEL
    text, unknown = told["text"], told["unknown"]
    assert (text["kind"], text["status"], text["code"]) == (
        "BadRequestError",
        400,
        "text_not_supported",
    )
    assert (unknown["kind"], unknown["code"], unknown["param"]) == (
        "NotFoundError",
        "model_not_found",
        "model",
    )
    assert text["request_id"]
    assert unknown["request_id"]
