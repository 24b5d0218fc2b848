"""``POST /v1/classify`` in process: every form of a request, and what is answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import numpy as np
import pytest

from pipeline.adapters.memory.store import MemoryStore
from pipeline.adapters.prometheus import PrometheusMeter, samples
from pipeline.errors import Retry
from pipeline.fetch import Attempts, Stores
from pipeline.metrics import LABEL_DECISIONS
from tests.rigs.serve.application import application, served
from tests.rigs.stages.decoding import as_file, noise
from tests.rigs.stages.fetching import store_of
from workers.serve.images import Images
from workers.serve.label_sets import own_label_set
from workers.serve.services import Services
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component]

PNG = as_file(noise(40, 30))
OTHER = as_file(noise(30, 30))
BASE64 = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{BASE64}"
LABELS = ["cat", "dog"]

POLICY = ServePolicy(default_label_set="moderation", max_images=6, max_prompts=30)


class Server:
    """The application, and a client that waits for its answers."""

    def __init__(
        self, runner: asyncio.Runner, client: httpx2.AsyncClient, services: Services
    ) -> None:
        self.run = runner.run
        self._client = client
        self.services = services

    def post(self, url: str = "/v1/classify", **how: Any) -> httpx2.Response:
        return self.run(self._client.post(url, **how))

    def ask(self, **asked: Any) -> httpx2.Response:
        return self.post(json=asked)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with asyncio.Runner() as runner:
        running = application(served(serve=POLICY))
        client, services = runner.run(running.__aenter__())
        yield Server(runner, client, services)
        runner.run(running.__aexit__(None, None, None))


def images_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    images: list[dict[str, Any]] = answer.json()["images"]
    assert [image["index"] for image in images] == list(range(len(images)))
    return images


def error_of(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code", "request_id"} <= error.keys()
    return error


def test_every_form_of_a_request_gives_the_same_answer(server: Server) -> None:
    bare = "?labels=cat,dog"
    answers = [
        server.post(json={"image": URI, "labels": LABELS}),
        server.post(json={"images": [BASE64], "labels": LABELS}),
        server.post(json={"image": {"url": URI}, "labels": LABELS}),
        server.post(
            "/v1/classify",
            json={"images": [{"uri": URI}], "labels": [{"name": it} for it in LABELS]},
        ),
        server.post("/v1/classify" + bare, content=PNG),
        server.post(
            "/v1/classify?labels=cat&labels=dog",
            content=PNG,
            headers={"content-type": "image/png"},
        ),
        server.post(
            "/v1/classify" + bare,
            content=PNG,
            headers={"content-type": "application/x-www-form-urlencoded"},
        ),
        server.post(
            "/v1/classify",
            files={"image": ("cat.png", PNG, "image/png")},
            data={"labels": '["cat", "dog"]', "templates": "a photo of a {}"},
        ),
        server.post(files={"file": PNG}, data={"labels": ["cat", "dog"]}),
        server.post("/v1/classify?labels=cat,dog", files={"images": PNG}),
        server.post("/v1/classify?labels=cat,dog", json={"image": URI, "decision": "exclusive"}),
        server.post("/v1/classify", files={"image": (None, URI), "labels": (None, "cat, dog")}),
    ]
    first, *others = (images_of(answer) for answer in answers)
    assert all(other == first for other in others)
    (image,) = first
    assert image["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert image["image"] == {
        "format": "PNG",
        "width": 40,
        "height": 30,
        "frames": 1,
        "cropped_share": pytest.approx(0.25, abs=0.005),
        "size_bytes": len(PNG),
    }
    (result,) = image["results"]
    assert [each["label"] for each in result["scores"]] == LABELS
    assert sum(each["score"] for each in result["scores"]) == pytest.approx(1)
    assert result["label_set"] == "labels"
    assert result["version"].startswith("sha256:")
    body = answers[0].json()
    assert body["usage"] == {"images": 1, "image_bytes": len(PNG)}
    assert body["model"]["name"] == server.services.model.name
    assert body["model"]["revision"] == server.services.model.revision
    assert body["model"]["precision"] == server.services.model.precision


def test_label_sets_are_asked_for_by_name_and_have_a_default(server: Server) -> None:
    def sets_of(query: str = "", **body: Any) -> list[str]:
        if body:
            answer = server.post(json={"image": URI, **body})
        else:
            answer = server.post(f"/v1/classify{query}", content=PNG)
        (image,) = images_of(answer)
        versions = server.services.rules().versions
        assert all(it["version"] == versions[it["label_set"]] for it in image["results"])
        return [result["label_set"] for result in image["results"]]

    both = ["moderation", "general-objects"]
    assert sets_of() == ["moderation"]
    assert sets_of("?label_set=general-objects") == ["general-objects"]
    assert sets_of("?label_sets=moderation,general-objects") == both
    assert sets_of("?label_set=moderation&label_set=general-objects") == both
    assert sets_of(label_set="general-objects") == ["general-objects"]
    assert sets_of(label_sets=both) == both
    unknown = server.post("/v1/classify?label_set=nothing", content=PNG)
    assert error_of(unknown, 404)["code"] == "unknown_label_set"


def test_thresholds_of_a_request_make_labels_match(server: Server) -> None:
    asked = {
        "image": URI,
        "labels": [
            {"name": "smoke", "phrases": ["smoke", "fog"], "act_threshold": 0},
            {"name": "fire", "prompts": ["a fire"], "contrast": ["a lamp"]},
        ],
        "contrast": ["a street"],
        "templates": ["a photo of {}", "{} seen from afar"],
        "decision": "independent",
        "review_threshold": 0,
    }
    ((result,),) = (image["results"] for image in images_of(server.ask(**asked)))
    assert result["decision"] == "act"
    assert result["matched"] == ["smoke", "fire"]


@pytest.mark.parametrize("encoding", ["float", True, "base64"])
def test_an_embedding_comes_as_it_is_published(server: Server, encoding: str | bool) -> None:
    asked = {"image": URI, "labels": LABELS, "embedding": encoding}
    answer = server.ask(**asked)
    (image,) = images_of(answer)
    dtype = np.dtype(answer.json()["model"]["embedding_dtype"])
    if encoding == "base64":
        vector = np.frombuffer(base64.b64decode(image["embedding"]), dtype.newbyteorder("<"))
    else:
        vector = np.array(image["embedding"], dtype)
    assert vector.shape == (server.services.model.dimension,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    (result,) = image["results"]
    compiled = server.run(server.services.prompts.compiled(own_label_set(LABELS)))
    similarities = compiled.rows @ vector.astype(np.float64)
    np.testing.assert_allclose(
        similarities, [each["similarity"] for each in result["scores"]], rtol=0, atol=1e-12
    )


def test_images_are_answered_in_order_each_by_itself(server: Server) -> None:
    asked = {
        "images": [
            {"image": URI, "id": "first"},
            base64.b64encode(b"no image").decode(),
            {"image": "photo.jpg", "id": "third"},
            base64.b64encode(OTHER).decode(),
            "s3://elsewhere/cat.jpg",
        ],
        "labels": LABELS,
    }
    answer = server.ask(**asked)
    first, odd, third, other, elsewhere = images_of(answer)
    assert (first["id"], third["id"]) == ("first", "third")
    assert odd["error"]["code"] == "decode.unsupported_format"
    assert third["error"]["code"] == "invalid_image"
    assert elsewhere["error"]["code"] == "fetch.bucket_not_allowed"
    assert other["sha256"] == hashlib.sha256(OTHER).hexdigest()
    assert "error" not in first
    assert odd.keys() == {"index", "error"}
    assert answer.json()["usage"] == {"images": 2, "image_bytes": len(PNG) + len(OTHER)}


def test_where_no_image_can_be_looked_at_the_request_fails_with_all_reasons(server: Server) -> None:
    asked = {"images": [base64.b64encode(b"no image").decode(), "photo.jpg"]}
    error = error_of(server.ask(**asked), 400)
    assert error["code"] == "decode.unsupported_format"
    assert error["param"] == "images[0]"
    assert [each["error"]["code"] for each in error["errors"]] == [
        "decode.unsupported_format",
        "invalid_image",
    ]
    for content, code in ((b"no image", "decode.unsupported_format"), (b"", "fetch.empty")):
        error = error_of(server.post(content=content), 400)
        assert error["code"] == code
        assert error["type"] == "invalid_request_error"


class Away(MemoryStore):
    """A store that is out of reach."""

    async def fetch(self, *_: Any, **__: Any) -> Any:
        raise Retry("fetch.failed", "s3: no answer", retry_after_s=40.0)


@contextmanager
def store_for(services: Services, store: MemoryStore) -> Iterator[None]:
    """Let the application read from another store than the settings say."""
    images = services.images
    attempts = Attempts(Stores([store_of(store)]), services.settings.fetch, services.clock)
    object.__setattr__(services, "images", Images(images._look, attempts, services.meter, 60.0))
    yield
    object.__setattr__(services, "images", images)


def test_an_object_is_answered_with_its_etag_and_the_version_that_was_read(server: Server) -> None:
    store = MemoryStore()
    store.create_bucket("images", versioned=True)
    old = store.put("images", "a b.png", PNG)
    new = store.put("images", "a b.png", OTHER)
    asked = [
        "s3://images/a b.png",
        f"s3://images/a b.png?versionId={old.version_id}",
        "s3://images/no",
    ]
    with store_for(server.services, store):
        newest, older, missing = images_of(server.ask(images=asked, labels=LABELS))
    assert (newest["version_id"], older["version_id"]) == (new.version_id, old.version_id)
    assert older["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert newest["etag"] == new.etag
    assert newest["content_id"] != older["content_id"]
    assert missing["error"]["code"] == "fetch.not_found"


def test_a_store_out_of_reach_is_a_503_that_says_when_to_ask_again(server: Server) -> None:
    with store_for(server.services, Away()):
        answer = server.ask(images=["s3://images/a", "s3://images/b"], labels=LABELS)
        # Beside an image that was seen, it is that image's error.
        away, _ = images_of(server.ask(images=["s3://images/a", URI], labels=LABELS))
    assert error_of(answer, 503)["code"] == "fetch.failed"
    assert answer.headers["retry-after"] == "40"
    assert away["error"]["code"] == "fetch.failed"


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({}, "invalid_request", None),
        ({"image": URI, "images": [URI]}, "invalid_request", None),
        ({"images": []}, "invalid_request", "images"),
        ({"images": [URI] * 7}, "too_many_images", "images"),
        ({"image": {"image": URI, "label": "cat"}}, "invalid_request", "image.label"),
        ({"image": URI, "lables": LABELS}, "invalid_request", "lables"),
        ({"image": URI, "labels": LABELS, "label_set": "a"}, "invalid_request", "label_set"),
        ({"image": URI, "label_set": "a", "label_sets": ["b"]}, "invalid_request", "label_set"),
        ({"image": URI, "contrast": ["a street"]}, "invalid_request", "contrast"),
        ({"image": URI, "labels": ["cat"]}, "invalid_labels", "labels"),
        ({"image": URI, "labels": ["cat", "cat"]}, "invalid_labels", "labels[1].name"),
        ({"image": URI, "labels": ["cat", {"name": 1}]}, "invalid_request", "labels[1].name"),
        (
            {"image": URI, "labels": ["cat", {"name": "dog", "act_threshold": 2}]},
            "invalid_request",
            "labels[1].act_threshold",
        ),
        (
            {"image": URI, "labels": [f"{n}" for n in range(31)]},
            "too_many_prompts",
            "labels",
        ),
        (
            {"image": URI, "labels": LABELS, "decision": "both"},
            "invalid_request",
            "decision",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_a_400_that_names_the_place(
    server: Server, asked: dict[str, Any], code: str, param: str | None
) -> None:
    error = error_of(server.ask(**asked), 400)
    assert (error["code"], error["param"]) == (code, param)
    assert BASE64 not in error["message"]


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"", "invalid_json"),
        ("application/json", b'{"image": "\xff"}', "invalid_json"),
        ("application/json", b'{"image": "\\ud800"}', "invalid_json"),
        ("application/json", b"[" * 100_000, "invalid_json"),
        ("application/json", b'{"image": "a", "act_threshold": NaN}', "invalid_request"),
        ("application/json", b"[]", "invalid_request"),
        ("multipart/form-data", b"", "invalid_multipart"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n", "invalid_multipart"),
        ("multipart/form-data; boundary=b", b"", "invalid_request"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(
    server: Server, kind: str, content: bytes, code: str
) -> None:
    headers = {"content-type": kind}
    answer = server.post(content=content, headers=headers)
    assert error_of(answer, 400)["code"] == code


def test_options_that_would_be_passed_over_are_refused(server: Server) -> None:
    for url, how in (
        ("/v1/classify?label_set=a", {"json": {"image": URI, "label_set": "a"}}),
        ("/v1/classify?label_sets=a", {"json": {"image": URI, "labels": LABELS}}),
        ("/v1/classify?decision=exclusive", {"files": {"image": PNG}}),
        ("/v1/classify?label-set=moderation", {"content": PNG}),
        ("/v1/classify?decision=exclusive&decision=independent", {"content": PNG}),
        ("/v1/classify", {"files": {"image": PNG, "labels": ("labels.txt", b"cat")}}),
        ("/v1/classify", {"data": {"labels": "cat,dog"}, "files": {"picture": PNG}}),
        ("/v1/classify?labels=[cat", {"content": PNG}),
    ):
        assert error_of(server.post(url, **how), 400)["code"].startswith("invalid_")
    text = server.post("/v1/classify", content=b"cat", headers={"content-type": "text/plain"})
    assert error_of(text, 415)["code"] == "unsupported_media_type"


def test_decisions_of_configured_label_sets_are_counted_and_those_of_a_clients_own_are_not(
    server: Server,
) -> None:
    def counted() -> dict[str, float]:
        return {
            labels["label_set"]: value
            for name, labels, value in samples(
                cast(PrometheusMeter, server.services.meter).registry
            )
            if name == LABEL_DECISIONS.name
        }

    before = counted()
    assert server.ask(images=[URI], label_set="moderation").status_code == 200
    assert server.ask(images=[URI], labels=LABELS).status_code == 200
    assert counted() == before | {"moderation": before.get("moderation", 0) + 1}
