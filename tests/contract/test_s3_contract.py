"""What every object store does, over S3 on moto; the real server's turn is in component/."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.connection import Credentials, open_session
from pipeline.adapters.s3.policy import S3Policy
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.ports import CheckResult
from tests.contract.test_object_store_contract import ObjectStoreContract
from tests.rigs.services.object_store import Bench
from workers.embedded.s3 import S3Server


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
