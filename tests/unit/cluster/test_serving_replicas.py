"""How many replicas Ray Serve is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.adapters.memory.encoder import MemoryEncoder
from workers.cluster.reservation import Reservation
from workers.cluster.serving.application import ServeApplication
from workers.cluster.serving.replica import Plan
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings
from workers.settings.serve import ServePolicy

# Ray Serve's own models use a part of pydantic that pydantic calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def asked_for(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Any:
    """The deployment that Ray Serve gets, as Ray Serve reads it."""
    from ray import serve

    targets: list[Any] = []
    monkeypatch.setattr(serve, "run_many", lambda given, **_: targets.extend(given))
    reserved = Reservation(0, 1, "here")
    settings = reserved.resolve(settings)
    plan = Plan(SentSettings.of(settings), reserved, 9, "board", lambda _: MemoryEncoder())
    # Its constructor would start a Ray.
    ServeApplication.__new__(ServeApplication)._run(settings, plan)
    (target,) = targets
    return target.target._bound_deployment._deployment_config


def test_between_two_numbers_ray_serve_follows_the_requests_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(serve=ServePolicy(min_replicas=2, max_replicas=5))
    asked = asked_for(monkeypatch, settings)
    scaling = asked.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)
    assert scaling.get_target_ongoing_requests() == settings.batch.largest
    assert asked.max_ongoing_requests > 100 * settings.batch.largest


@pytest.mark.parametrize("most", [None, 3])
def test_with_one_number_ray_serve_keeps_it(
    most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(serve=ServePolicy(min_replicas=3, max_replicas=most))
    asked = asked_for(monkeypatch, settings)
    assert asked.autoscaling_config is None
    assert asked.num_replicas == 3


def test_there_cannot_be_fewer_at_most_than_always() -> None:
    with pytest.raises(ValidationError, match=r"max_replicas: is 2 and serve\.min_replicas is 3"):
        ServePolicy(min_replicas=3, max_replicas=2)
    assert ServePolicy(min_replicas=3, max_replicas=3).most == 3
