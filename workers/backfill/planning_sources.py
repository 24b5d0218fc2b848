"""The rows of a source, whatever its kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pipeline.adapters.manifests.inventory import batch_operations_entries, inventory_entries
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.manifests.own import own_entries
from pipeline.adapters.parquet.cutting import Rows, listed
from pipeline.adapters.s3.listing import S3Listing
from pipeline.errors import Halt
from workers.backfill.output import Output
from workers.backfill.planning_files import ManifestFiles
from workers.backfill.planning_request import Request
from workers.settings.loading import Settings


def entries(
    settings: Settings, request: Request, tell: Callable[[], object] = lambda: None
) -> Iterator[Rows]:
    """Entries of the source: the columns of a plan, and others that decide.

    Raises:
        Halt: ``backfill.*``: the source cannot be read, or the row that is named is wrong.
        StoreDenied, Retry: a store failed.
    """
    files = ManifestFiles(settings, tell)
    match request.kind:
        case InputKind.LISTING:
            # The first objects are those of the first names.
            in_order = request.limit is not None
            return _listing(settings, request.uri, in_order=in_order)
        case InputKind.INVENTORY:
            every_column = request.choice.where is not None
            return inventory_entries(files, request.uri, every_column=every_column)
        case InputKind.BATCH_OPERATIONS:
            return batch_operations_entries(files, request.uri)
        case InputKind.PARQUET | InputKind.CSV | InputKind.JSONL:
            return own_entries(files, request.uri, request.kind, request.carried)


def _listing(settings: Settings, source: str, *, in_order: bool) -> Iterator[Rows]:
    place = Output.of(source)
    store = settings.s3_store_of(place.bucket)
    if store is None:
        raise Halt(
            "backfill.invalid",
            f"{source}: bucket {place.bucket} is not in s3.allowed_buckets, so workers would "
            "refuse its objects; allow it first",
        )
    requests = 1 if in_order else settings.backfill.listing_requests
    with (
        contextlib.closing(S3Listing(store, requests)) as listing,
        contextlib.closing(listing.pages(place.bucket, place.prefix)) as pages,
    ):
        yield from listed(pages)
