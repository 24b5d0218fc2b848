"""An S3 server that only lists: any number of sorted keys, which may be computed."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, quote_plus, urlsplit

from tests.rigs.services.scripted_s3 import Script, answer

_PLAIN = re.compile(r"[A-Za-z0-9/_.-]+").fullmatch
_AFTER_ALL = "\U0010ffff" * 8


class ComputedKeys(Sequence[str]):
    """``count`` keys that are not held in memory. ``key`` must be in order."""

    def __init__(self, count: int, key: Callable[[int], str]) -> None:
        self._count = count
        self._key = key

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: object) -> str:
        assert isinstance(index, int)
        if not 0 <= index < self._count:
            raise IndexError
        return self._key(index)


class ListingServer(Script):
    """Answers each request for a page of a listing. The ETag of a key is its place."""

    def __init__(self, keys: Sequence[str], *, page_keys: int = 1000, delay_s: float = 0.0) -> None:
        self.keys = keys
        self._page_keys = page_keys
        self.refusals: list[bytes] = []
        """Answers that come first, before those to the requests."""
        super().__init__()
        self.delay_s = delay_s

    def answer_to(self, request: str) -> bytes:
        if self.refusals:
            return self.refusals.pop()
        target = request.split(" ", 2)[1]
        asked = {
            name: value[0]
            for name, value in parse_qs(
                urlsplit(target).query, keep_blank_values=True, errors="strict"
            ).items()
        }
        assert asked["encoding-type"] == "url"
        return answer("200 OK", self._page(asked), Content_Type="application/xml")

    def _page(self, asked: dict[str, str]) -> bytes:
        keys, prefix = self.keys, asked.get("prefix", "")
        delimiter = asked.get("delimiter")
        token = bytes.fromhex(asked.get("continuation-token", "")).decode()
        after = token or asked.get("start-after", "")
        place = max(bisect_left(keys, prefix), bisect_right(keys, after))
        entries: list[str] = []
        last, more = "", False
        while place < len(keys) and (key := keys[place]).startswith(prefix):
            if len(entries) == self._page_keys:
                more = True
                break
            if delimiter and delimiter in key[len(prefix) :]:
                head = key[len(prefix) :].partition(delimiter)[0]
                last = prefix + head + delimiter
                entries.append(
                    f"<CommonPrefixes><Prefix>{quote_plus(last)}</Prefix></CommonPrefixes>"
                )
                last += _AFTER_ALL
                place = bisect_right(keys, last)
                continue
            last = key
            entries.append(
                f"<Contents><Key>{_quoted(key)}</Key><LastModified>"
                f"2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{place:032x}&quot;</ETag>"
                f"<Size>{place}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
            place += 1
        token = f"<NextContinuationToken>{last.encode().hex()}</NextContinuationToken>"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>images</Name><Prefix>{quote_plus(prefix)}</Prefix>"
            f"<EncodingType>url</EncodingType><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token if more else ''}{''.join(entries)}</ListBucketResult>"
        ).encode()


def _quoted(key: str) -> str:
    return key if _PLAIN(key) else quote_plus(key, safe="/")
