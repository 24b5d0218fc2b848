"""What every object store does, and the store in memory. Stores over S3 and over https have modules
of their own."""

from __future__ import annotations

import asyncio
import gzip
import threading

import pytest

from pipeline.adapters.memory.store import MemoryStore
from pipeline.errors import Reject, StoreDenied
from pipeline.records import ObjectBody
from tests.rigs.services.object_store import MAX_BYTES, Bench
from tests.rigs.services.scripted_s3 import go_on

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
