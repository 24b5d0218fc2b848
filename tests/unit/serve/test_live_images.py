"""Images of the stream for people: what a key may see, small and after everybody else."""

from __future__ import annotations

import asyncio
import io
import logging

import numpy as np
import pytest
from PIL import Image

from pipeline.adapters.jpeg import as_jpeg
from tests.rigs.serve.console import Console, audit, console, limited
from workers.serve.live.pictures import AT_ONCE

IMAGE = "/v1/live/image"


def with_image(body: bytes = b"12345") -> Console:
    asked = console()
    asked.objects.bodies["photos", "cats/1.jpg"] = body
    return asked


def test_an_image_is_a_jpeg_that_browsers_may_keep_to_themselves() -> None:
    asked = with_image()
    query = "?bucket=photos&key=cats/1.jpg&version_id=v1&etag=e1&size=640"
    answer = asyncio.run(asked.ask("GET", IMAGE + query))
    assert (answer.status_code, answer.content) == (200, b"5")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=300"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (ref,) = asked.objects.asked
    assert (ref.version_id, ref.etag) == ("v1", "e1")


def test_images_for_people_wait_for_those_that_somebody_classifies() -> None:
    asked = with_image()
    asked.caller = limited(level=3)
    asyncio.run(asked.ask("GET", f"{IMAGE}?bucket=photos&key=cats/1.jpg"))
    assert asked.objects.levels == [4]


@pytest.mark.parametrize(
    ("patterns", "status"), [(("photos/cats/*",), 200), (("photos/dogs/*",), 400), ((), 400)]
)
def test_a_key_sees_only_images_that_its_patterns_admit(
    patterns: tuple[str, ...], status: int
) -> None:
    asked = with_image()
    asked.caller = limited(objects=patterns)
    answer = asyncio.run(asked.ask("GET", f"{IMAGE}?bucket=photos&key=cats/1.jpg"))
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["code"] == "fetch.bucket_not_allowed"
        assert asked.objects.asked == []


def test_the_key_of_a_tenant_sees_images_only_by_patterns_of_its_own() -> None:
    asked = with_image()
    path = f"{IMAGE}?bucket=photos&key=cats/1.jpg"
    asked.caller = limited(tenants=("acme",))
    assert asyncio.run(asked.ask("GET", path)).status_code == 400
    asked.caller = limited(tenants=("acme",), objects=("photos/cats/*",))
    assert asyncio.run(asked.ask("GET", path)).status_code == 200


def test_an_image_that_is_gone_has_the_code_of_dead_letters() -> None:
    answer = asyncio.run(console().ask("GET", f"{IMAGE}?bucket=photos&key=2.jpg"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "fetch.not_found")


@pytest.mark.parametrize("query", ["", "?bucket=b", "?key=k", "?bucket=b&key=k&size=10000"])
def test_a_request_without_an_image_or_of_another_size_is_refused(query: str) -> None:
    answer = asyncio.run(console().ask("GET", IMAGE + query))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_memory_is_held_for_few_images_at_a_time_and_given_back() -> None:
    asked = with_image()
    budget = asked.services.memory
    limit = asked.objects.policy.max_bytes
    held: list[int] = []
    asked.objects.on_read = lambda: held.append(budget.held_bytes)

    async def many() -> None:
        path = f"{IMAGE}?bucket=photos&key=cats/1.jpg"
        answers = await asyncio.gather(*(asked.ask("GET", path) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}

    asyncio.run(many())
    assert max(held) == AT_ONCE * limit
    assert budget.held_bytes == 0


def test_a_reveal_is_a_line_of_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    asked = console(caller=limited(name="carol"))
    body = {"id": "4f\nforged", "uri": "s3://photos/1.jpg"}
    with caplog.at_level(logging.INFO, "clipstream.audit"):
        answer = asyncio.run(asked.ask("POST", "/v1/live/reveal", json=body))
    assert (answer.status_code, answer.content) == (204, b"")
    (line,) = audit(caplog)
    assert line.startswith("revealed by key carol: ")
    assert "s3://photos/1.jpg" in line
    assert "\n" not in line


def test_a_reveal_of_nothing_is_refused() -> None:
    answer = asyncio.run(console().ask("POST", "/v1/live/reveal", content=b"{}"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_a_jpeg_has_the_pixels_and_nothing_else() -> None:
    pixels = np.full((30, 40, 3), (200, 30, 30), np.uint8)
    with Image.open(io.BytesIO(as_jpeg(pixels))) as image:
        assert (image.format, image.size) == ("JPEG", (40, 30))
        assert not image.getexif()
        assert np.abs(np.asarray(image, np.int16) - pixels).max() < 4
