"""The contract of folders on a real S3 server."""

from __future__ import annotations

import pytest

from tests.contract.test_folder_contract import S3FolderContract
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def server(s3_server: S3Server) -> S3Server:
    return s3_server


class TestFolderOnVersity(S3FolderContract):
    # To versitygw keys are paths of a file system: it cleans these itself, or refuses them. Its
    # listings are not encoded, and XML has no control characters.
    cannot_hold = frozenset({"b//c", "./d", "x/../y", "control\x01"})
