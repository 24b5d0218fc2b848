"""The application in process: real services on an encoder without a model, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

import tests.rigs.described_types  # noqa: F401 - for its effect
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.metrics import SERVE_REPLICA
from pipeline.ports import Encoder
from tests.rigs.root import ROOT
from workers.serve.app import build_app
from workers.serve.services import Services
from workers.serve.wiring import serving
from workers.settings.loading import Settings
from workers.settings.serve import ServePolicy

LABEL_SETS = ROOT / "deploy/examples/label-sets"


def served(**sections: Any) -> Settings:
    """Settings of a server with the example label sets and one decoder process."""
    given = {
        "label_sets": LabelSetsPolicy(paths=(LABEL_SETS,), text_cache_dir=None),
        "decode": DecodePolicy(processes=1),
        "serve": ServePolicy(),
    }
    return Settings(**(given | sections))


@asynccontextmanager
async def application(
    settings: Settings | None = None, encoder: Encoder | None = None
) -> AsyncIterator[tuple[httpx2.AsyncClient, Services]]:
    """A client of the application, and the application's services."""
    meter = PrometheusMeter(SERVE_REPLICA)
    async with serving(settings or served(), encoder or MemoryEncoder(), meter) as services:
        transport = httpx2.ASGITransport(app=build_app(services))
        async with httpx2.AsyncClient(transport=transport, base_url="http://clipstream") as client:
            yield client, services
