"""What a folder makes of a store's answers, and what a probe finds out about its conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.s3.folder import S3Folder
from pipeline.backfill.committing import Committed, commit
from pipeline.backfill.conditions import Conditions, LookingFolder, probe
from pipeline.errors import PipelineError, Retry, StoreDenied
from pipeline.records import NO_JSON
from tests.rigs.services.scripted_s3 import Script, answer, error, policy

pytestmark = pytest.mark.usefixtures("known")

Call = Callable[[S3Folder], object]

CALLS: dict[str, Call] = {
    "read": lambda folder: folder.read("a"),
    "create": lambda folder: folder.create("a", b"x"),
    "replace": lambda folder: folder.replace("a", b"x", "e1"),
    "write": lambda folder: folder.write("a", b"x"),
    "delete": lambda folder: folder.delete("a"),
    "names": lambda folder: list(folder.names()),
}

each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture(scope="module")
def folder(server: Script, known: None) -> Iterator[S3Folder]:
    with closing(S3Folder(policy(server.endpoint), "derived", "2024/")) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 waits between its tries."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


def failure(folder: S3Folder, call: Call) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        call(folder)
    assert caught.value.message.startswith("output s3://derived/2024/: s3: ")
    assert "; " in caught.value.message, "an error says what to do"
    return caught.value


@each_call
@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (error("403 Forbidden", "AccessDenied"), StoreDenied, "output.forbidden"),
        (error("404 Not Found", "NoSuchBucket"), StoreDenied, "output.no_bucket"),
        (error("400 Bad Request", "KeyTooLongError"), StoreDenied, "output.not_found"),
        (error("503 Slow Down", "SlowDown"), Retry, "output.failed"),
        (error("500 Internal Server Error", "InternalError"), Retry, "output.failed"),
        (error("507 Insufficient Storage", "StorageFull"), Retry, "output.failed"),
        (error("501 Not Implemented", "NotImplemented"), StoreDenied, "output.unsupported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_answer_has_its_meaning(
    script: Script,
    folder: S3Folder,
    call: Call,
    reply: bytes,
    kind: type[PipelineError],
    code: str,
) -> None:
    script.play(reply)
    raised = failure(folder, call)
    assert type(raised) is kind
    assert raised.code == code
    assert kind is Retry or len(script.requests) == 1, "a refusal is not asked for again"


def test_a_refusal_says_which_rights_are_needed(script: Script, folder: S3Folder) -> None:
    script.play(error("403 Forbidden", "AccessDenied"))
    assert "s3:PutObject" in failure(folder, CALLS["create"]).message


@pytest.mark.parametrize(
    "reply",
    [
        error("412 Precondition Failed", "PreconditionFailed"),
        error("409 Conflict", "ConditionalRequestConflict"),
        error("409 Conflict", "OperationAborted"),
        answer("412 Precondition Failed"),
    ],
    ids=["412", "409", "409 aborted", "412 without a code"],
)
def test_a_condition_that_does_not_hold_is_no_failure(
    script: Script, folder: S3Folder, reply: bytes
) -> None:
    script.play(reply)
    assert folder.create("a", b"x") is False
    assert script.header("if-none-match") == "*"
    assert folder.replace("a", b"x", "e1") is None
    assert script.header("if-match") == '"e1"'
    assert len(script.requests) == 2


def test_a_page_that_is_not_found_is_no_missing_object(script: Script, folder: S3Folder) -> None:
    script.play(answer("404 Not Found", b"<html>no such page</html>"))
    assert type(failure(folder, CALLS["read"])) is Retry


def test_a_body_that_breaks_off_is_read_again(script: Script, folder: S3Folder) -> None:
    script.play(b'HTTP/1.1 200 OK\r\nETag: "e1"\r\nContent-Length: 50\r\n\r\nhalf', "close")
    assert type(failure(folder, CALLS["read"])) is Retry
    assert len(script.requests) == 2


class Remembering(Script):
    """A store of objects that does to the answers to writes what a test says."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str]] = {}
        self.ignores: frozenset[str] = frozenset()
        self.lost = 0
        """Writes whose answer is lost, from the next one on."""
        super().__init__()

    def answer_to(self, request: str) -> bytes:
        first, *lines = request.split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        self.then = "close"
        if method == "HEAD" or method == "GET":
            return self._found(path)
        if method == "DELETE":
            self.objects.pop(path, None)
            return answer("204 No Content")
        conditions = {"if-none-match", "if-match"} & headers.keys() - self.ignores
        exists = path in self.objects
        if ("if-none-match" in conditions and exists) or (
            "if-match" in conditions and headers["if-match"] != '"e1"'
        ):
            return error("412 Precondition Failed", "PreconditionFailed")
        self.objects[path] = {
            name: value for name, value in headers.items() if name.startswith("x-amz-meta-")
        }
        if self.lost:
            self.lost -= 1
            return b""
        return answer("200 OK", ETag='"e1"')

    def _found(self, path: str) -> bytes:
        if path not in self.objects:
            return answer("404 Not Found")
        return answer("200 OK", b"", ETag='"e1"', **self.objects[path])


@pytest.fixture
def store() -> Iterator[Remembering]:
    with closing(Remembering()) as store:
        yield store


@pytest.fixture
def output(store: Remembering) -> Iterator[S3Folder]:
    with closing(S3Folder(policy(store.endpoint), "derived", "")) as folder:
        yield folder


def test_a_commit_whose_answer_was_lost_was_made_here(store: Remembering, output: S3Folder) -> None:
    store.lost = 1
    assert commit(output, "data/1", b"rows", "me", "plan") is Committed.HERE
    assert len(store.requests) == 3, "two writes and a look at whose it is"
    assert commit(output, "data/1", b"rows", "other", "plan") is Committed.BEFORE


@pytest.mark.parametrize(
    ("ignored", "found"),
    [
        ((), Conditions()),
        (("if-none-match",), Conditions(create=False)),
        (("if-match",), Conditions(replace=False)),
        (("if-none-match", "if-match"), Conditions(create=False, replace=False)),
    ],
)
def test_a_probe_finds_out_which_conditions_are_ignored(
    store: Remembering, output: S3Folder, ignored: tuple[str, ...], found: Conditions
) -> None:
    store.ignores = frozenset(ignored)
    assert probe(output) == found
    assert store.objects == {}
    assert found.kept == (not ignored)


def test_a_probe_is_not_confused_by_a_lost_answer(store: Remembering, output: S3Folder) -> None:
    store.lost = 1
    assert probe(output).kept


def test_a_store_that_does_not_know_conditions_keeps_none() -> None:
    class Refusing(MemoryFolder):
        def create(self, *_: Any, **__: Any) -> bool:
            raise StoreDenied("output.unsupported", "501")

    folder = Refusing()
    assert probe(folder) == Conditions(create=False, replace=False)
    assert list(folder.names()) == []


def test_a_store_without_rights_is_not_taken_for_one_without_conditions(
    script: Script, folder: S3Folder
) -> None:
    script.play(error("403 Forbidden", "AccessDenied"))
    with pytest.raises(StoreDenied, match="AccessDenied"):
        probe(folder)


class Ignoring(MemoryFolder):
    """A store that ignores conditions."""

    def create(self, name: str, body: bytes, metadata: Any = NO_JSON) -> bool:
        self.write(name, body, metadata)
        return True

    def replace(self, name: str, body: bytes, etag: str, metadata: Any = NO_JSON) -> str | None:
        self.write(name, body, metadata)
        found = self.read(name)
        return None if found is None else found.etag


def test_without_conditions_whoever_comes_later_finds_what_was_there() -> None:
    store = Ignoring()
    folder = LookingFolder(store, probe(store))
    assert commit(folder, "data/1", b"first", "one", "plan") is Committed.HERE
    assert commit(folder, "data/1", b"second", "two", "plan") is Committed.BEFORE
    before = folder.read("data/1")
    assert before is not None
    assert before.body == b"first"
    assert folder.replace("data/1", b"third", "0" * 32) is None
    etag = folder.replace("data/1", b"third", before.etag)
    after = folder.read("data/1")
    assert after is not None
    assert (after.body, after.etag) == (b"third", etag)
