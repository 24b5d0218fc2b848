"""Some thousand keys on real S3 servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.listing import S3Listing
from pipeline.adapters.s3.policy import S3Policy
from workers.embedded.s3 import MotoS3, S3Server

pytestmark = pytest.mark.component

REQUESTS = 16
PLAIN = [f"p/{at % 7}/{at:05}+ é%~,x.jpg" for at in range(1_100)]
FLAT = [f"p/{at:05}-{at * at}.jpg" for at in range(1_100)]
ODD = [f"p/{odd}{at}" for odd in ("/", "../", "./", "\x01", "a//b/", "<&> ") for at in range(20)]


@contextmanager
def filled(server: S3Server, bucket: str, keys: Sequence[str]) -> Iterator[S3Listing]:
    """The listing of a bucket that holds the keys."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        policy = S3Policy(endpoint=server.endpoint, region=server.region, allowed_buckets=(bucket,))
        with closing(S3Admin(policy)) as admin, ThreadPoolExecutor(8) as threads:
            admin.create_bucket(bucket)
            list(threads.map(lambda key: admin.put(bucket, key, b"x"), keys))
        with closing(S3Listing(policy, REQUESTS)) as listing:
            yield listing


def listed(listing: S3Listing, bucket: str, prefix: str) -> list[str]:
    return sorted(key for page in listing.pages(bucket, prefix) for key in page.keys)


def test_versitygw_lists_each_key_once(s3_server: S3Server) -> None:
    keys = sorted([*PLAIN, *FLAT, "other/1"])
    with filled(s3_server, "many", keys) as listing:
        assert listed(listing, "many", "") == keys
        assert listed(listing, "many", "p/0001") == [key for key in keys if key[:6] == "p/0001"]


def test_moto_lists_keys_that_are_no_paths_once(tmp_path: Path) -> None:
    keys = sorted([*ODD, *FLAT])
    with MotoS3(tmp_path / "moto") as server, filled(server, "odd", keys) as listing:
        assert listed(listing, "odd", "p/") == keys
