"""One server for all clients, and a machine that they cannot leave."""

from __future__ import annotations

import base64
import io
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.records import ModelIdentity

if TYPE_CHECKING:
    from tests.rigs.serve.listening import Listening

# Read when the clients are imported: nothing is fetched, nothing is told to their makers.
os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
}

MODEL = "openai/clip-vit-base-patch32"


class NamedEncoder(MemoryEncoder):
    """An encoder whose model has an owner, as on the hub."""

    @property
    def model(self) -> ModelIdentity:
        return replace(super().model, name=MODEL)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name but loopback's is unknown."""
    resolve = socket.getaddrinfo

    def of_loopback(host: Any, *args: Any, **keys: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise AssertionError(f"a client asks for {host}")
        return resolve(host, *args, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", of_loopback)


@pytest.fixture(scope="session")
def server() -> Iterator[Listening]:
    """The example label sets, on an encoder without a model."""
    # Not above: the Kafka client warns when it is imported, and pytest knows that only now.
    from tests.rigs.serve.listening import listening

    with listening(encoder=NamedEncoder()) as server:
        yield server


def drawn(colour: str) -> bytes:
    """A PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def red() -> bytes:
    return drawn("red")


@pytest.fixture(scope="session")
def red_uri(red: bytes) -> str:
    return data_uri(red)


@pytest.fixture(scope="session")
def blue_uri() -> str:
    return data_uri(drawn("blue"))


def data_uri(body: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(body).decode()}"
