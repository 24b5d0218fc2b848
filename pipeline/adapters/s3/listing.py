"""Lists a prefix with many requests at the same time.

botocore signs, sends and judges the requests. ``pages`` parses the answers. ``ranges``
decides which parts of the keys are listed side by side.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.adapters.s3.answers import Answers
from pipeline.adapters.s3.connection import open_client, open_session
from pipeline.adapters.s3.odd_keys import failure
from pipeline.adapters.s3.pages import Page, read_page
from pipeline.adapters.s3.ranges import Range, Ranges, UnsortedError
from pipeline.errors import Halt, PipelineError, Retry, StoreDenied
from pipeline.ports import ListedPage
from pipeline.retry import RetryPolicy, wait_s

if TYPE_CHECKING:
    from pipeline.adapters.s3.policy import S3Policy

_ATTEMPTS = 10
_BACKOFF = RetryPolicy(first_wait_s=0.2, longest_wait_s=10.0)

_DEPTH = 3
"""Levels of folders that are asked for their own folders."""

_WAITING_PAGES = 4
"""Pages for each request that may wait for the caller."""

_PAGE = "ClipstreamPage"
_NOTHING = b"<ListBucketResult/>"


class S3Listing:
    """Lists the current versions of a bucket's objects. Thread-safe.

    Raises:
        Halt: there are no credentials.
    """

    def __init__(
        self, policy: S3Policy, requests: int, wait: Callable[[float], object] = time.sleep
    ) -> None:
        """``requests`` are made at the same time. With 1, keys may come in any order. ``wait``
        waits between two attempts of a request."""
        self._requests = requests
        self._wait = wait
        self._section = policy.section
        self._answers = Answers(policy.section)
        self._always: dict[str, str] = {"EncodingType": "url"}
        if policy.requester_pays:
            self._always["RequestPayer"] = "requester"
        session = open_session(policy)
        self._client = open_client(session, policy, attempts=1, connections=requests + 1)
        # Of handlers, those with the widest names come first. botocore's own handler would parse
        # the whole page to look for an error in it.
        self._client.meta.events.register_first("*.s3.*", _parse)

    def pages(self, bucket: str, prefix: str) -> Generator[ListedPage, None, None]:
        """The objects whose key starts with ``prefix``, each once. Pages come in no order. A caller
        that needs no more closes the iterator.

        Raises:
            StoreDenied: listing is not allowed, or there is no such bucket.
            Retry: the store failed several times in a row.
            Halt: ``backfill.unlistable``: keys are not in order, or no Unicode.
        """
        ask = partial(self._page, bucket)
        if self._requests == 1:
            pages = _one_by_one(ask, prefix)
        else:
            pages = _SideBySide(ask, prefix, self._requests).pages()
        with contextlib.closing(pages):
            try:
                for page in pages:
                    yield ListedPage(bucket, page.keys, page.etags, page.sizes)
            except UnsortedError as error:
                raise Halt(
                    "backfill.unlistable",
                    f"{self._section}: bucket {bucket} lists its keys in another order than S3 "
                    "does, so its parts cannot be listed side by side; set "
                    "backfill.listing_requests to 1",
                ) from error
            except UnicodeDecodeError as error:
                raise Halt(
                    "backfill.unlistable",
                    f"{self._section}: bucket {bucket} holds a key that is no UTF-8, which no "
                    "request can name; rename the object",
                ) from error

    def close(self) -> None:
        self._client.close()

    # -- inside -----------------------------------------------------------------------------

    def _page(
        self,
        bucket: str,
        prefix: str,
        stopped: Callable[[], bool],
        *,
        after: str | None = None,
        token: str | None = None,
        delimiter: str | None = None,
    ) -> Page:
        """One page. Tries again while the store fails."""
        named = {"StartAfter": after, "ContinuationToken": token, "Delimiter": delimiter}
        request = {name: value for name, value in named.items() if value}
        failures = 0
        while True:
            try:
                return self._asked(Bucket=bucket, Prefix=prefix, **request)
            except StoreDenied:
                raise
            except Retry as error:
                failures += 1
                if failures == _ATTEMPTS or stopped():
                    raise
                pause = wait_s(failures, _BACKOFF, random.random)
                self._wait(max(pause, error.retry_after_s or 0.0))

    def _asked(self, **request: str) -> Page:
        ask: Any = self._client.list_objects_v2
        try:
            page: Page | None = ask(**request, **self._always).get(_PAGE)
        except (ClientError, BotoCoreError) as error:
            meaning: PipelineError = failure(self._answers, error, versioned=False)
            # A listing names no object that could be refused.
            raise (
                meaning if isinstance(meaning, Retry) else Retry("fetch.failed", meaning.message)
            ) from error
        if page is None:
            raise self._answers.unreachable("the answer is no list of objects")
        return page


class _Ask(Protocol):
    def __call__(
        self,
        prefix: str,
        stopped: Callable[[], bool],
        *,
        after: str | None = None,
        token: str | None = None,
        delimiter: str | None = None,
    ) -> Page: ...


def _one_by_one(ask: _Ask, prefix: str) -> Generator[Page, None, None]:
    token = None
    while True:
        page = ask(prefix, lambda: False, token=token)
        yield page
        if (token := page.token) is None:
            return


class _SideBySide:
    """One listing by several threads. Each lists a range from its front. One without a range asks
    for a page from the middle of another's, and takes what follows over."""

    def __init__(self, ask: _Ask, prefix: str, requests: int) -> None:
        self._stopped = False
        self._ask = partial(ask, prefix, lambda: self._stopped)
        self._ask_below = ask
        self._prefix = prefix
        self._requests = requests
        self._ranges = Ranges(prefix)
        self._ready: deque[Page] = deque()
        self._error: BaseException | None = None
        lock = threading.Lock()
        self._split = threading.Condition(lock)
        """A range may be worth splitting."""
        self._room = threading.Condition(lock)
        self._found = threading.Condition(lock)

    def pages(self) -> Generator[Page, None, None]:
        with ThreadPoolExecutor(self._requests + 1, thread_name_prefix="s3-list") as threads:
            try:
                threads.submit(self._run, self._list_first)
                threads.submit(self._run, self._find_folders)
                for _ in range(self._requests - 1):
                    threads.submit(self._run, self._list_others)
                while (page := self._next()) is not None:
                    yield page
            finally:
                self._stop()

    def _next(self) -> Page | None:
        with self._found:
            while not (self._ready or self._error or self._ranges.complete):
                self._found.wait()
            if self._error is not None:
                raise self._error
            if not self._ready:
                return None
            self._room.notify()
            return self._ready.popleft()

    # -- in the threads -----------------------------------------------------------------------

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again where pages are taken
            self._stop(error)

    def _stop(self, error: BaseException | None = None) -> None:
        with self._found:
            self._stopped = True
            self._error = self._error or error
            self._wake()

    def _wake(self) -> None:
        for each in (self._split, self._room, self._found):
            each.notify_all()

    def _list_first(self) -> None:
        self._list(self._ranges.first, self._ask())
        self._list_others()

    def _list_others(self) -> None:
        while (point := self._point()) is not None:
            page = self._ask(after=point)
            with self._found:
                part = self._ranges.probed(point, found=bool(page.keys or page.token))
                if self._ranges.complete:
                    self._wake()
                self._split.notify()
            if part is not None:
                self._list(part, page)

    def _point(self) -> str | None:
        with self._split:
            while not (self._stopped or self._ranges.complete):
                if (point := self._ranges.point()) is not None:
                    # Another thread may find one too.
                    self._split.notify()
                    return point
                self._split.wait()
            return None

    def _list(self, part: Range, page: Page) -> None:
        while True:
            with self._room:
                while len(self._ready) >= _WAITING_PAGES * self._requests and not self._stopped:
                    self._room.wait()
                if self._stopped:
                    return
                count = self._ranges.advance(part, page.keys, last=page.token is None)
                if count:
                    self._ready.append(
                        Page(page.keys[:count], page.etags[:count], page.sizes[:count])
                    )
                    self._found.notify()
                self._split.notify()
                if self._ranges.complete:
                    self._wake()
            if part.complete:
                return
            page = self._ask(token=page.token)

    def _find_folders(self) -> None:
        """Ask for folders, level by level, until there are enough to begin at."""
        level, found = [self._prefix], 0
        for _ in range(_DEPTH):
            below: list[str] = []
            for folder in level[: 2 * self._requests]:
                if self._stopped or self._ranges.complete:
                    return
                page = self._ask_below(folder, lambda: self._stopped, delimiter="/")
                below += page.folders
                with self._split:
                    self._ranges.hint(page.folders)
                    self._split.notify()
                if found + len(below) >= 2 * self._requests:
                    return
            found += len(below)
            level = below


def _parse(
    event_name: str,
    response_dict: dict[str, Any] | None = None,
    customized_response_dict: dict[str, Any] | None = None,
    **_: object,
) -> None:
    """Parse a page in the place of botocore."""
    if (
        event_name == "before-parse.s3.ListObjectsV2"
        and response_dict is not None
        and customized_response_dict is not None
        and response_dict["status_code"] == 200
        and (page := read_page(response_dict["body"])) is not None
    ):
        customized_response_dict[_PAGE] = page
        response_dict["body"] = _NOTHING
