"""What every object store does, in memory, over S3 or over https; the real server's turn is in
component/."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from pipeline.adapters.memory.store import MemoryStore
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.connection import Credentials, open_session
from pipeline.adapters.s3.policy import S3Policy
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.errors import Reject, StoreDenied
from pipeline.ports import CheckResult, ListedObject
from pipeline.records import ObjectBody
from tests.rigs.services.object_store import MAX_BYTES, Bench
from tests.rigs.services.scripted_s3 import answer, go_on
from tests.rigs.services.web_server import Web
from workers.embedded.s3 import S3Server

WAIT_S = 60.0

KEYS = [
    "plain.jpg",
    "a b+c%20/é.jpg",
    "../x",
    "x",
    "//y",
    "/y",
    "y",
    "a//b",
    "a/b",
    "./x",
    "a/../b",
    "a/./b",
    "..",
    "日本.png",
    "a\nb",
    "a\tb",
    "a\x7fb",
    "folder/",
    "folder",
    "%2e%2e/x",
    "%2E%2E/x",
    "a?b#c",
    "a\\b",
    "a&b=c;d@e$f,g!(h)*'",
    "<Code>NoSuchKey</Code>",
    " lead and trail ",
    "é",
    "e\u0301",
    "/".join(["k" * 204] * 5),
]
"""Keys whose neighbours a careless client would read instead, and the neighbours."""


plain_and_odd = pytest.mark.parametrize(
    "key", ["photos/a.jpg", "photos//a.jpg"], ids=["plain", "odd"]
)
"""Keys for each of the two ways in which the S3 store reads."""


class ReadingContract:
    """What every store does. A subclass says by its fixture ``bench`` what it runs on."""

    def test_every_key_is_read_exactly_as_given(self, bench: Bench) -> None:
        keys = [key for key in KEYS if key not in bench.cannot_hold]
        for number, key in enumerate(keys):
            bench.writer.put(bench.bucket, key, f"object {number}".encode())
        for number, key in enumerate(keys):
            assert bench.read(key).body == f"object {number}".encode(), repr(key)

    @plain_and_odd
    def test_the_coding_of_an_object_is_told_and_not_undone(self, bench: Bench, key: str) -> None:
        coded = gzip.compress(b"image", mtime=0)
        written = bench.writer.put(bench.bucket, key, coded, "gzip")
        assert (written.body, written.content_encoding) == (coded, "gzip")
        assert bench.read(key) == written

    @plain_and_odd
    def test_with_an_etag_only_the_unchanged_object_is_read(self, bench: Bench, key: str) -> None:
        first = bench.writer.put(bench.bucket, key, b"first")
        assert bench.read(key, etag=first.etag) == first
        bench.writer.put(bench.bucket, key, b"second")
        assert bench.rejection(key, etag=first.etag) == "fetch.superseded"

    @plain_and_odd
    @pytest.mark.parametrize("etag", ["", 'a"b', "a\r\nHost: elsewhere", "é", " "])
    def test_an_etag_that_no_object_can_have_is_superseded(
        self, bench: Bench, key: str, etag: str
    ) -> None:
        bench.writer.put(bench.bucket, key, b"image")
        assert bench.rejection(key, etag=etag) == "fetch.superseded"

    @plain_and_odd
    def test_an_object_of_the_largest_size_is_read_and_a_larger_one_is_not(
        self, bench: Bench, key: str
    ) -> None:
        body = bytes(range(256)) * (MAX_BYTES // 256)
        bench.writer.put(bench.bucket, key, body)
        assert bench.read(key).body == body
        assert bench.rejection(key, max_bytes=MAX_BYTES - 1) == "fetch.too_large"

    @plain_and_odd
    def test_whoever_bounds_memory_is_asked_before_an_object_is_read(
        self, bench: Bench, key: str
    ) -> None:
        asked: list[str] = []
        announced: list[int | None] = []

        async def main() -> bytes:
            room, waiting = asyncio.Event(), asyncio.Event()

            async def wait_for_room(size_bytes: int | None = None) -> None:
                asked.append(key)
                announced.append(size_bytes)
                waiting.set()
                await room.wait()

            def read(wanted: str) -> asyncio.Task[ObjectBody]:
                return asyncio.create_task(
                    bench.store.fetch(
                        bench.bucket,
                        wanted,
                        version_id=None,
                        etag=None,
                        max_bytes=MAX_BYTES,
                        on_answer=wait_for_room,
                    )
                )

            with pytest.raises(Reject):
                await read(f"missing-{key}")
            assert asked == []
            reading = read(key)
            await waiting.wait()
            assert not reading.done()
            waiting.clear()
            given_up = read(key)
            await waiting.wait()
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            room.set()
            return (await reading).body

        bench.writer.put(bench.bucket, key, b"image")
        assert asyncio.run(main()) == b"image"
        assert set(announced) <= {len(b"image"), None}

    @plain_and_odd
    def test_an_object_without_bytes_is_empty(self, bench: Bench, key: str) -> None:
        bench.writer.put(bench.bucket, key, b"")
        assert bench.rejection(key) == "fetch.empty"

    @plain_and_odd
    def test_reads_run_side_by_side_on_a_loop_of_another_thread(
        self, bench: Bench, key: str
    ) -> None:
        for number in range(20):
            bench.writer.put(bench.bucket, f"{key}{number}", b"%d" % number)
        bodies: list[ObjectBody] = []

        async def main() -> None:
            bodies.extend(await asyncio.gather(*(bench.fetch(f"{key}{n}") for n in range(20))))

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join(WAIT_S)
        assert [found.body for found in bodies] == [b"%d" % number for number in range(20)]

    @plain_and_odd
    def test_an_object_comes_with_its_etag(self, bench: Bench, key: str) -> None:
        written = bench.writer.put(bench.bucket, key, b"image")
        assert bench.read(key) == written
        assert written.etag is not None
        assert '"' not in written.etag

    @plain_and_odd
    def test_a_missing_object_is_not_found(self, bench: Bench, key: str) -> None:
        assert bench.rejection(key) == "fetch.not_found"


class ObjectStoreContract(ReadingContract):
    """What every store does that keeps buckets with versions."""

    def test_no_neighbour_is_read_in_place_of_a_missing_key(self, bench: Bench) -> None:
        for key in {"x", "y", "a/b", "folder", "../x", "a b"} - bench.cannot_hold:
            bench.writer.put(bench.bucket, key, b"neighbour")
        absent = {"/y", "//y", "a//b", "folder/", "./x", "%2e%2e/x", "a/../x", "a%20b", "a+b"}
        for key in absent - bench.cannot_hold:
            assert bench.rejection(key) == "fetch.not_found", repr(key)

    @plain_and_odd
    def test_an_object_comes_with_its_etag_and_version(self, bench: Bench, key: str) -> None:
        written = bench.writer.put(bench.bucket, key, b"image")
        assert bench.read(key) == written
        assert written.version_id is not None
        assert written.etag is not None
        assert '"' not in written.etag

    @plain_and_odd
    def test_a_version_is_read_exactly(self, bench: Bench, key: str) -> None:
        first = bench.writer.put(bench.bucket, key, b"first")
        second = bench.writer.put(bench.bucket, key, b"second")
        assert bench.read(key, version_id=first.version_id) == first
        assert bench.read(key, version_id=second.version_id) == second
        # The version decides: it cannot change, whatever else the reference says.
        assert bench.read(key, version_id=first.version_id, etag=second.etag) == first

    @plain_and_odd
    def test_a_missing_object_or_version_is_not_found(self, bench: Bench, key: str) -> None:
        assert bench.rejection(key) == "fetch.not_found"
        bench.writer.put(bench.bucket, key, b"image")
        assert bench.rejection(key, version_id="no-such-version") == "fetch.not_found"

    @plain_and_odd
    def test_a_deleted_object_is_not_found_but_its_versions_are(
        self, bench: Bench, key: str
    ) -> None:
        written = bench.writer.put(bench.bucket, key, b"image")
        bench.writer.delete(bench.bucket, key)
        assert bench.rejection(key) == "fetch.not_found"
        assert bench.read(key, version_id=written.version_id) == written

    @plain_and_odd
    def test_a_bucket_that_does_not_exist_may_be_an_outage(self, bench: Bench, key: str) -> None:
        async def main() -> None:
            await bench.store.fetch(
                "no-such-bucket",
                key,
                version_id=None,
                etag=None,
                max_bytes=MAX_BYTES,
                on_answer=go_on,
            )

        with pytest.raises(StoreDenied) as caught:
            asyncio.run(main())
        assert caught.value.code == "fetch.no_bucket"

    def test_objects_are_listed_in_order_with_their_keys_as_they_are(self, bench: Bench) -> None:
        keys = sorted(set(KEYS) - bench.cannot_hold, key=str.encode)
        for key in keys:
            bench.writer.put(bench.bucket, key, b"image")
        bench.writer.put(bench.bucket, "deleted", b"image")
        bench.writer.delete(bench.bucket, "deleted")
        listed = list(bench.writer.list_objects(bench.bucket, ""))
        assert [entry.key for entry in listed] == keys
        assert {entry.size_bytes for entry in listed} == {5}
        assert {entry.etag for entry in listed} == {bench.read("plain.jpg").etag}
        prefixed = [entry.key for entry in bench.writer.list_objects(bench.bucket, "a")]
        assert prefixed == [key for key in keys if key.startswith("a")]

    def test_listing_a_bucket_that_does_not_exist_is_denied(self, bench: Bench) -> None:
        with pytest.raises(StoreDenied):
            list(bench.writer.list_objects("no-such-bucket", ""))

    def test_a_bucket_may_be_created_again(self, bench: Bench) -> None:
        written = bench.writer.put(bench.bucket, "a", b"image")
        bench.writer.create_bucket(bench.bucket, versioned=True)
        assert bench.read("a") == written


@dataclass(frozen=True)
class S3:
    """A server, and our two clients of it."""

    server: S3Server
    store: ObstoreS3
    admin: S3Admin


@contextlib.contextmanager
def clients(server: S3Server, *allowed_buckets: str) -> Iterator[S3]:
    policy = S3Policy(
        endpoint=server.endpoint,
        region=server.region,
        allowed_buckets=allowed_buckets or ("*",),
    )
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        s3 = S3(server, ObstoreS3(policy), S3Admin(policy))
    yield s3
    asyncio.run(s3.store.close())
    s3.admin.close()


class S3Contract(ObjectStoreContract):
    """The suite on a server; the fixture ``s3`` of its module says on which."""

    cannot_hold: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def bench(self, s3: S3) -> Bench:
        bucket = f"bucket-{uuid.uuid4().hex}"
        s3.admin.create_bucket(bucket, versioned=True)
        return Bench(s3.store, s3.admin, bucket, self.cannot_hold)

    def test_a_listing_goes_on_over_pages(self, bench: Bench, s3: S3) -> None:
        keys = [f"{number:04}" for number in range(12)]
        for key in keys:
            bench.writer.put(bench.bucket, key, b"image")
        # A page holds 1,000 objects: ask for smaller ones, as if the bucket were larger.
        events = s3.admin._client.meta.events
        name = "before-parameter-build.s3.ListObjectsV2"
        events.register(name, _small_pages, unique_id="small")
        try:
            assert [entry.key for entry in bench.writer.list_objects(bench.bucket, "")] == keys
        finally:
            events.unregister(name, _small_pages, unique_id="small")

    def test_a_store_in_order_passes_every_check(self, bench: Bench, s3: S3) -> None:
        full, bare, absent = (f"{bench.bucket}-{what}" for what in ("full", "bare", "absent"))
        s3.admin.create_bucket(full)
        s3.admin.create_bucket(bare)
        s3.admin.put(full, "a b+c", b"image")
        with clients(s3.server, full, bare, absent, "logs-*") as narrow:
            found = {check.subject: check for check in narrow.admin.check()}
        assert {subject: check.result for subject, check in found.items()} == {
            "endpoint": CheckResult.PASSED,
            "credentials": CheckResult.PASSED,
            f"bucket {full}": CheckResult.PASSED,
            f"bucket {bare}": CheckResult.PASSED,
            f"bucket {absent}": CheckResult.FAILED,
            "bucket logs-*": CheckResult.WARNING,
        }
        assert "s3.allowed_buckets" in found[f"bucket {absent}"].message


def _small_pages(params: dict[str, Any], **_: object) -> None:
    params["MaxKeys"] = 5


class TestMemory(ObjectStoreContract):
    @pytest.fixture
    def bench(self) -> Bench:
        memory = MemoryStore()
        memory.create_bucket("images", versioned=True)
        return Bench(memory, memory, "images")

    def test_an_archived_object_is_rejected_as_such(self) -> None:
        memory = MemoryStore()
        memory.create_bucket("images")
        memory.put("images", "a", b"image")
        memory.archive("images", "a")
        assert Bench(memory, memory, "images").rejection("a") == "fetch.archived"

    def test_without_versions_an_object_is_version_null(self) -> None:
        memory = MemoryStore()
        memory.create_bucket("images")
        memory.put("images", "a", b"first")
        memory.put("images", "a", b"second")
        bench = Bench(memory, memory, "images")
        assert bench.read("a", version_id="null").body == b"second"
        memory.delete("images", "a")
        assert bench.rejection("a") == "fetch.not_found"


@pytest.fixture(scope="module")
def s3(moto_s3: S3Server) -> Iterator[S3]:
    with clients(moto_s3) as both:
        yield both


class TestS3OnMoto(S3Contract):
    # moto answers 404 to any key with a line break.
    cannot_hold = frozenset({"a\nb"})

    def test_a_role_is_assumed_where_the_settings_name_one(
        self, bench: Bench, s3: S3, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.writer.put(bench.bucket, "a", b"image")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.server.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.server.endpoint)
        policy = S3Policy(
            endpoint=s3.server.endpoint,
            region=s3.server.region,
            allowed_buckets=("*",),
            role_arn="arn:aws:iam::123456789012:role/reader",
            external_id="agreed",
        )
        credentials = Credentials(open_session(policy))()
        # STS gives out keys of this form, and a token with them.
        assert credentials["access_key_id"].startswith("ASIA")
        assert credentials["token"]
        store = ObstoreS3(policy)
        assert Bench(store, bench.writer, bench.bucket).read("a").body == b"image"
        asyncio.run(store.close())


class Pages:
    """A web server's pages as a bench fills them: the host is the bucket."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def put(
        self, bucket: str, key: str, body: bytes, content_encoding: str | None = None
    ) -> ObjectBody:
        etag = hashlib.sha256(body).hexdigest()
        coding = {} if content_encoding is None else {"Content_Encoding": content_encoding}
        self._web.server.pages[f"{bucket}/{key}"] = answer(
            "200 OK", body, ETag=f'"{etag}"', **coding
        )
        return ObjectBody(body, etag, None, content_encoding)

    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None: ...

    def delete(self, bucket: str, key: str) -> None:
        del self._web.server.pages[f"{bucket}/{key}"]

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        raise NotImplementedError


class OneLoopEach:
    """A store for each read, because a bench runs each on an event loop of its own."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def fetch(self, bucket: str, key: str, **how: Any) -> ObjectBody:
        async with self._web.opened() as store:
            return await store.fetch(bucket, key, **how)

    async def close(self) -> None: ...


class TestHttps(ReadingContract):
    # No URL is written like these.
    cannot_hold = frozenset(key for key in KEYS if quote(key, safe="/%?&=;@$,!()*'+:~") != key)

    @pytest.fixture
    def bench(self, web: Web) -> Bench:
        return Bench(OneLoopEach(web), Pages(web), "a.example.com", self.cannot_hold)
