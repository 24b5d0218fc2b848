"""docs/http.md shows what works: its examples are run against the server that the page starts, and
what the page shows of answers is what is answered. So is the example of README.md."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.dev import javascript_client
from tests.rigs.root import ROOT
from tests.rigs.serve.listening import Listening, listening
from workers.commands.serving.sample import sample_png
from workers.settings.loading import load_settings
from workers.stages import load_encoder

pytestmark = [
    pytest.mark.component,
    # Examples leave clients to the end of their program, and LiteLLM's modules warn of their own.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm.*"),
]

PAGE = (ROOT / "docs/http.md").read_text(encoding="utf-8")
SETTINGS = ROOT / "deploy/examples/serve.yaml"
ADDRESS = "http://127.0.0.1:8000"
CHANGING = frozenset({"request_id", "created"})
DECIMALS = 0.002
"""Numbers of the page are rounded to three decimals."""


def blocks(language: str) -> list[tuple[str, str]]:
    """Each example in this language, and the block that follows it with nothing but a sentence in
    between: what it answers or prints."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    shown = [*found, ("", "")]
    return [
        (text, following if kind in ("json", "text") else "")
        for (each, text), (kind, following) in zip(found, shown[1:], strict=True)
        if each == language
    ]


@pytest.fixture(scope="module")
def demo() -> Iterator[Listening]:
    """The server of `make serve`, without Ray."""
    # The examples have a folder of their own, where the paths of the settings lead nowhere.
    paths = {
        "label_sets.paths": [str(ROOT / "workers/demo/labels.yaml")],
        "model.directory": str(ROOT / "workers/demo/model"),
    }
    settings = load_settings(SETTINGS, paths)
    with listening(settings, load_encoder(settings)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, with the files that the examples name."""
    (tmp_path / "sample.png").write_bytes(sample_png())
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def require_same(shown: Any, answered: Any, place: str = "answer") -> None:
    """The page may leave out keys and later items, and round numbers. All else is as it is."""
    match shown:
        case dict():
            for key in shown.keys() - CHANGING:
                require_same(shown[key], answered[key], f"{place}.{key}")
        case [{"label": _}, *_]:  # scores: the page shows some
            by_label = {each["label"]: each for each in answered}
            for each in shown:
                require_same(each, by_label[each["label"]], f"{place}.{each['label']}")
        case list():
            assert len(shown) == len(answered), place
            for index, each in enumerate(shown):
                require_same(each, answered[index], f"{place}[{index}]")
        case float():
            assert math.isclose(shown, answered, abs_tol=DECIMALS), f"{place}: {answered}"
        case _:
            assert shown == answered, place


def test_every_kind_of_client_has_an_example() -> None:
    shown = "".join(
        text for language in ("python", "javascript", "bash") for text, _ in blocks(language)
    )
    for client in (
        "from openai import",
        'from "openai"',
        "huggingface_hub",
        "langchain_openai",
        "litellm",
        "curl -s",
    ):
        assert client in shown


@pytest.mark.parametrize(
    ("command", "shown"), [pytest.param(*each, id=str(n)) for n, each in enumerate(blocks("bash"))]
)
def test_curl_is_answered_as_the_page_shows(
    demo: Listening, folder: Path, command: str, shown: str
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on the PATH: apt-get install curl")
    done = subprocess.run(
        ["bash", "-euc", command.replace(ADDRESS, demo.url)],
        env={**os.environ, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answered = json.loads(done.stdout)
    if shown:
        require_same(json.loads(shown), answered)
    else:
        assert "error" not in answered


def test_the_python_examples_print_what_the_page_shows(demo: Listening, folder: Path) -> None:
    """They build on one another, as a reader types them."""
    import litellm

    litellm.telemetry = False
    names: dict[str, Any] = {}
    # LiteLLM asks for the thread's event loop.
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        for example, shown in blocks("python"):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(example.replace(ADDRESS, demo.url), "docs/http.md", "exec"), names)
            assert printed.getvalue() == shown
        asyncio.set_event_loop(None)


def test_the_example_of_the_readme_runs(
    demo: Listening, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, example = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    exec(compile(example.replace(ADDRESS, demo.url), "README.md", "exec"), {})
    assert capsys.readouterr().out == "True\n"


def test_the_javascript_example_prints_what_the_page_shows(demo: Listening, folder: Path) -> None:
    node = shutil.which("node")
    if node is None or not javascript_client.available():
        pytest.skip(javascript_client.WHAT_IT_NEEDS)
    (folder / "node_modules").symlink_to(javascript_client.modules())
    ((example, shown),) = blocks("javascript")
    (folder / "example.mjs").write_text(example.replace(ADDRESS, demo.url), encoding="utf-8")
    done = subprocess.run(
        [node, "example.mjs"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown
