"""Which store a reference is read from, by its scheme and its bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipeline.errors import Reject
from pipeline.ports import ObjectStore
from pipeline.records import ImageRef


@dataclass(frozen=True, slots=True)
class Store:
    """One store. ``name`` is its name in logs and metrics. ``scheme`` and ``allows`` say which
    references belong to it. ``allow_list`` is the setting that ``allows`` comes from. ``pattern``:
    each bucket is a host of its own, which no setting names; a message chooses it."""

    name: str
    scheme: str
    allows: Callable[[str], bool]
    allow_list: str
    objects: ObjectStore
    pattern: bool = False


class _Allows(Protocol):
    def allows(self, bucket: str, /) -> bool: ...


_AnyStore = TypeVar("_AnyStore", bound=_Allows)


def store_of(stores: Iterable[_AnyStore], bucket: str) -> _AnyStore | None:
    """The store that has a bucket: the first that allows it. None if no store may read it."""
    return next((store for store in stores if store.allows(bucket)), None)


class Stores:
    """Stores in their order. A reference is read from the first store that matches its scheme and
    bucket. Another kind of store is one more entry, with its own scheme."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = tuple(stores)

    def __iter__(self) -> Iterator[Store]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)

    def of(self, ref: ImageRef) -> Store:
        """The store of a reference.

        Raises:
            Reject: ``fetch.bucket_not_allowed``: no store may read the reference.
        """
        of_scheme = [store for store in self._stores if store.scheme == ref.scheme]
        if (store := store_of(of_scheme, ref.bucket)) is not None:
            return store
        if not of_scheme:
            raise Reject(
                "fetch.bucket_not_allowed",
                f"fetch: no store reads {ref.scheme}:// references; mend the producer",
            )
        absent = absent_from(list(dict.fromkeys(store.allow_list for store in of_scheme)))
        what = "bucket" if ref.scheme == "s3" else "host"
        raise Reject(
            "fetch.bucket_not_allowed",
            f"fetch: {what} {ref.bucket!r} is {absent}; add it there, or mend the producer",
        )

    def chosen_by_messages(self, bucket: str) -> bool:
        """Whether a bucket is a host that only a pattern names."""
        stores = [store for store in self._stores if store.allows(bucket)]
        return bool(stores) and all(store.pattern for store in stores)

    async def close(self) -> None:
        """Release the stores' resources. Reads in progress fail."""
        for store in self._stores:
            await store.objects.close()


def absent_from(allow_lists: Sequence[str]) -> str:
    """Words for a bucket that none of these settings names."""
    if len(allow_lists) == 1:
        return f"not in {allow_lists[0]}"
    return f"in none of {', '.join(allow_lists)}"
