"""The rows of a source, whatever its kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pipeline.adapters.manifests.inventory import batch_operations_entries, inventory_entries
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.manifests.own import own_entries
from pipeline.adapters.parquet.cutting import Rows, listed
from pipeline.adapters.s3.admin import S3Admin
from pipeline.errors import Halt
from workers.backfill.output import Output, store_for
from workers.backfill.planning_files import ManifestFiles
from workers.backfill.planning_request import Request
from workers.settings.loading import Settings


def entries(
    settings: Settings, request: Request, tell: Callable[[], object] = lambda: None
) -> Iterator[Rows]:
    """Entries of the source, in its order: the columns of a plan, and others that decide.

    Raises:
        Halt: ``backfill.*``: the source cannot be read, or the row that is named is wrong.
        StoreDenied, Retry: a store failed.
    """
    files = ManifestFiles(settings, tell)
    match request.kind:
        case InputKind.LISTING:
            return _listing(settings, request.uri)
        case InputKind.INVENTORY:
            every_column = request.choice.where is not None
            return inventory_entries(files, request.uri, every_column=every_column)
        case InputKind.BATCH_OPERATIONS:
            return batch_operations_entries(files, request.uri)
        case InputKind.PARQUET | InputKind.CSV | InputKind.JSONL:
            return own_entries(files, request.uri, request.kind, request.carried)


def _listing(settings: Settings, source: str) -> Iterator[Rows]:
    place = Output.of(source)
    store = settings.s3_store_of(place.bucket)
    if store is None:
        raise Halt(
            "backfill.invalid",
            f"{source}: bucket {place.bucket} is not in s3.allowed_buckets, so workers would "
            "refuse its objects; allow it first",
        )
    with contextlib.closing(S3Admin(store_for(settings, place.bucket))) as admin:
        yield from listed(admin.list_objects(place.bucket, place.prefix))
