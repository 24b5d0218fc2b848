"""What every folder does: in memory, and over S3 on moto; the real server's turn is in
component/."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.adapters.s3.policy import S3Policy
from pipeline.backfill.conditions import Conditions, probe
from pipeline.errors import StoreDenied
from pipeline.ports import Folder
from workers.embedded.s3 import S3Server

WRITERS = 16
ROUNDS = 5

ODD = (
    "a b+c%20.parquet",
    "umlaut-ä-漢.parquet",
    "quote'\"&<>.json",
    "deep/er/and deeper/x",
    "tilde~!*()",
    "control\x01",
    "b//c",
    "./d",
    "x/../y",
)


class FolderContract:
    """The suite; the fixture ``folder`` says on what."""

    cannot_hold: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def folder(self) -> Folder:
        raise NotImplementedError

    def test_what_is_not_there_is_none(self, folder: Folder) -> None:
        assert folder.read("a") is None
        assert folder.metadata("a") is None
        assert folder.replace("a", b"new", "0" * 32) is None
        assert folder.read("a") is None
        folder.delete("a")
        assert list(folder.names()) == []

    def test_the_end_of_an_object_is_read_alone(self, folder: Folder) -> None:
        folder.create("tail", b"0123456789")
        assert folder.tail("tail", 3) == b"789"
        assert folder.tail("tail", 10) == b"0123456789"
        assert folder.tail("tail", 99) == b"0123456789"
        assert folder.tail("nothing", 3) is None

    def test_an_object_is_created_once(self, folder: Folder) -> None:
        assert folder.create("data/1", b"first", {"clipstream-attempt": "one"})
        assert not folder.create("data/1", b"second", {"clipstream-attempt": "two"})
        found = folder.read("data/1")
        assert found is not None
        assert found.body == b"first"
        assert folder.metadata("data/1") == {"clipstream-attempt": "one"}

    def test_names_of_metadata_are_in_lower_case(self, folder: Folder) -> None:
        folder.write("a", b"", {"Clipstream-Plan": "Of this"})
        assert folder.metadata("a") == {"clipstream-plan": "Of this"}

    def test_an_object_is_replaced_only_while_it_is_the_same(self, folder: Folder) -> None:
        folder.write("lease", b"first")
        first = folder.read("lease")
        assert first is not None
        second = folder.replace("lease", b"second", first.etag, {"by": "me"})
        assert second is not None
        assert second != first.etag
        assert folder.replace("lease", b"third", first.etag) is None
        found = folder.read("lease")
        assert found is not None
        assert (found.body, found.etag) == (b"second", second)
        assert folder.metadata("lease") == {"by": "me"}

    def test_a_write_replaces_whatever_is_there(self, folder: Folder) -> None:
        for body in (b"", b"long" * 100, b"x"):
            folder.write("progress.json", body)
            found = folder.read("progress.json")
            assert found is not None
            assert found.body == body
        folder.delete("progress.json")
        assert folder.read("progress.json") is None
        assert folder.create("progress.json", b"again")

    def test_names_are_those_below_a_prefix_in_order(self, folder: Folder) -> None:
        names = ["data/000002", "data/000001", "data.json", "data/000010", "errors/000001"]
        for name in names:
            folder.write(name, b"x")
        assert list(folder.names()) == sorted(names)
        assert list(folder.names("data/")) == ["data/000001", "data/000002", "data/000010"]
        assert list(folder.names("data")) == sorted(names)[:4]
        assert list(folder.names("nothing")) == []

    def test_names_may_be_odd(self, folder: Folder) -> None:
        for name in ODD:
            if name in self.cannot_hold:
                continue
            assert folder.create(name, b"odd")
            assert not folder.create(name, b"again")
            found = folder.read(name)
            assert found is not None
            assert found.body == b"odd"
            assert list(folder.names()) == [name]
            folder.delete(name)
            assert list(folder.names()) == []

    def test_of_many_creators_one_wins(self, folder: Folder) -> None:
        with ThreadPoolExecutor(WRITERS) as pool:
            for number in range(ROUNDS):
                name = f"data/{number:06}"
                bodies = [f"{number} by {writer}".encode() for writer in range(WRITERS)]
                won = list(pool.map(lambda body, name=name: folder.create(name, body), bodies))
                assert won.count(True) == 1
                found = folder.read(name)
                assert found is not None
                assert found.body == bodies[won.index(True)]

    def test_of_many_that_replace_one_wins(self, folder: Folder) -> None:
        folder.write("driver.json", b"start")
        with ThreadPoolExecutor(WRITERS) as pool:
            for number in range(ROUNDS):
                before = folder.read("driver.json")
                assert before is not None
                bodies = [f"{number} by {writer}".encode() for writer in range(WRITERS)]
                etags = list(
                    pool.map(
                        lambda body, etag=before.etag: folder.replace("driver.json", body, etag),
                        bodies,
                    )
                )
                (won,) = [each for each in etags if each is not None]
                found = folder.read("driver.json")
                assert found is not None
                assert (found.body, found.etag) == (bodies[etags.index(won)], won)

    def test_a_probe_finds_both_conditions_kept_and_leaves_nothing(self, folder: Folder) -> None:
        assert probe(folder) == Conditions(create=True, replace=True)
        assert list(folder.names()) == []


class TestFolderInMemory(FolderContract):
    @pytest.fixture
    def folder(self) -> Folder:
        return MemoryFolder()


def policy_of(server: S3Server) -> S3Policy:
    return S3Policy(endpoint=server.endpoint, region=server.region, allowed_buckets=("*",))


class S3FolderContract(FolderContract):
    """The suite on a server; the fixture ``server`` of its module says on which."""

    @pytest.fixture
    def policy(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Policy:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        return policy_of(server)

    @pytest.fixture
    def bucket(self, policy: S3Policy) -> str:
        bucket = f"bucket-{uuid.uuid4().hex}"
        with closing(S3Admin(policy)) as admin:
            admin.create_bucket(bucket)
        return bucket

    @pytest.fixture
    def folder(self, policy: S3Policy, bucket: str) -> Iterator[Folder]:
        with closing(S3Folder(policy, bucket, "derived/2024/")) as folder:
            yield folder

    def test_a_folder_sees_nothing_beside_its_prefix(
        self, folder: Folder, policy: S3Policy, bucket: str
    ) -> None:
        with closing(S3Folder(policy, bucket, "")) as above:
            above.write("derived/2025/a", b"x")
            folder.write("a", b"x")
            assert list(folder.names()) == ["a"]
            assert list(above.names("derived/2024/")) == ["derived/2024/a"]

    def test_a_listing_goes_on_over_pages(self, folder: S3Folder) -> None:
        names = [f"data/{number:06}" for number in range(12)]
        for name in names:
            folder.write(name, b"x")
        folder._client.meta.events.register("before-parameter-build.s3.ListObjectsV2", _small_pages)
        assert list(folder.names("data/")) == names

    def test_a_large_body_is_written_in_one_request(self, folder: S3Folder) -> None:
        body = os.urandom(1024) * 100 * 1024
        requests: list[str] = []
        folder._client.meta.events.register(
            "request-created.s3", lambda request, **_: requests.append(request.method)
        )
        assert folder.create("data/000001.parquet", body, {"clipstream-attempt": "one"})
        assert requests == ["PUT"]
        found = folder.read("data/000001.parquet")
        assert found is not None
        assert found.body == body

    def test_a_bucket_that_is_not_there_is_said(self, policy: S3Policy) -> None:
        with closing(S3Folder(policy, f"absent-{uuid.uuid4().hex}", "x/")) as folder:
            calls: list[Any] = [
                lambda: folder.read("a"),
                lambda: folder.create("a", b""),
                lambda: folder.write("a", b""),
                lambda: list(folder.names()),
                lambda: probe(folder),
            ]
            for call in calls:
                with pytest.raises(StoreDenied, match="create the bucket") as raised:
                    call()
                assert raised.value.code == "output.no_bucket"


def _small_pages(params: dict[str, Any], **_: object) -> None:
    params["MaxKeys"] = 5


@pytest.fixture(scope="module")
def server(moto_s3: S3Server) -> S3Server:
    return moto_s3


class TestFolderOnMoto(S3FolderContract):
    # moto is a web application, whose server cleans paths.
    cannot_hold = frozenset({"b//c", "./d", "x/../y", "control\x01"})
