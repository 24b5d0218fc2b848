"""``POST /v1/classify`` of ``https://`` images: the stores as they are wired, and a web server over
TLS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.adapters.https.resolver import Resolver
from pipeline.adapters.https.store import HttpsStore
from tests.rigs.serve.application import application, served
from tests.rigs.services.certificates import certified
from tests.rigs.services.scripted_s3 import answer
from tests.rigs.services.web_server import NAMES, Web
from tests.rigs.stages.decoding import as_file, noise
from workers import stores

pytestmark = [pytest.mark.component]

PNG = as_file(noise(40, 30))
HOST, REFUSED, INSIDE = "a.example.com", "www.example.net", "inside.example.com"
LABELS = ["cat", "dog"]


@pytest.fixture(scope="module")
def policy_and_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HttpsPolicy, Web]]:
    ca_file, tls = certified(tmp_path_factory.mktemp("web"), *NAMES)
    policy = HttpsPolicy(allowed_hosts=("*.example.com",), ca_file=ca_file)
    with closing(Web(ca_file, tls)) as web:
        yield policy, web


def asked(policy: HttpsPolicy, *images: str) -> list[dict[str, Any]]:
    """What a request with these images is answered, image by image."""

    async def main() -> list[dict[str, Any]]:
        async with application(served(https=policy)) as (client, _):
            given = [{"image": image} for image in images]
            answered = await client.post("/v1/classify", json={"images": given, "labels": LABELS})
            assert answered.status_code == 200, answered.text
            answers: list[dict[str, Any]] = answered.json()["images"]
            return answers

    return asyncio.run(main())


def test_an_image_of_an_allowed_host_is_scored_and_others_are_errors_of_their_own(
    policy_and_web: tuple[HttpsPolicy, Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, web = policy_and_web
    # Nothing of this machine is public: the guard takes the web server's address alone for it.
    ours = partial(HttpsStore, rule=web.rule, resolver=Resolver(web.names))
    monkeypatch.setattr(stores, "HttpsStore", ours)
    web.names.addresses[INSIDE] = [("10.0.0.1",)]
    web.server.pages[f"{HOST}/cats/1.png?token=secret"] = answer("200 OK", PNG)
    inline = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    read, refused, inside, gone, same = asked(
        policy,
        f"https://{HOST}/cats/1.png?token=secret",
        f"https://{REFUSED}/1.png",
        f"https://{INSIDE}/1.png",
        f"https://{HOST}/gone.png",
        inline,
    )
    assert {score["label"] for score in read["results"][0]["scores"]} == set(LABELS)
    assert read["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert read["results"] == same["results"]
    codes = [each["error"]["code"] for each in (refused, inside, gone)]
    assert codes == ["fetch.bucket_not_allowed", "fetch.address_not_allowed", "fetch.not_found"]
    assert not any("results" in each for each in (refused, inside, gone))
    assert sorted(web.server.asked) == [f"{HOST}/cats/1.png?token=secret", f"{HOST}/gone.png"]
    assert set(web.dialled) == {"127.0.0.2", "10.0.0.1"}
