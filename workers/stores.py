"""Builds the fetch stage from settings: the stores, and the patience with them.

Another kind of store is an adapter that implements ``pipeline.ports.ObjectStore``, and an entry
here with its scheme.
"""

from __future__ import annotations

import random

from pipeline.adapters.s3.policy import S3Policy
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.fetch import Attempts, Fetcher, Store, Stores
from pipeline.ports import Clock, Meter
from workers.settings.loading import Settings


def open_stores(settings: Settings) -> Stores:
    """The stores that references may be read from, in their order.

    Raises:
        Halt: a store has no credentials, or one of its files cannot be read.
    """
    return Stores([_s3(policy) for policy in settings.s3_stores])


def fetching_of(settings: Settings, stores: Stores, clock: Clock, meter: Meter) -> Fetcher:
    """The fetch stage, for one event loop. Its ``close`` closes the stores too."""
    return Fetcher(
        Attempts(stores, settings.fetch, clock),
        retry=settings.retry,
        breaker=settings.breaker,
        random=random.Random().random,  # noqa: S311 - jitter, no secret
        meter=meter,
        min_share=settings.priority.min_share,
    )


def _s3(policy: S3Policy) -> Store:
    return Store(
        policy.store_name,
        "s3",
        policy.allows,
        f"{policy.section}.allowed_buckets",
        ObstoreS3(policy),
    )
