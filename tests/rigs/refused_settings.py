"""What is said of settings that are refused."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Halt
from workers.settings.loading import load_settings

BUCKETS = {"CLIPSTREAM_S3__ALLOWED_BUCKETS": '["images"]'}
SECRET = "hunter2"


def problems(text: str, tmp_path: Path, *, flags: Any = None, **variables: str) -> list[str]:
    """The lines of the refusal of a file's text, flags and variables (without their prefix)."""
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    environment = BUCKETS | {f"CLIPSTREAM_{name}": value for name, value in variables.items()}
    with pytest.raises(Halt) as caught:
        load_settings(file, flags, environment)
    assert caught.value.code == "settings.invalid"
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    head, *lines = caught.value.message.replace(f"{tmp_path}/", "").splitlines()
    return [line.strip() for line in lines] or [head]
