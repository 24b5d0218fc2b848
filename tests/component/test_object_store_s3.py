"""The contract of object stores on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.test_s3_contract import S3, S3Contract, clients
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def s3(s3_server: S3Server) -> Iterator[S3]:
    with clients(s3_server) as both:
        yield both


class TestS3OnVersity(S3Contract):
    # To versitygw keys are paths of a file system: it cleans these itself, or refuses them.
    cannot_hold = frozenset(
        {"../x", "..", "/y", "//y", "a//b", "./x", "a/../b", "a/../x", "a/./b", "folder/"}
    )
