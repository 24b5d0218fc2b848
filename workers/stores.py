"""Builds the fetch stage from settings: the stores, and the patience with them.

Another kind of store is an adapter that implements ``pipeline.ports.ObjectStore``, and an entry
here with its scheme.
"""

from __future__ import annotations

import random
from functools import partial

from pipeline.adapters.https.policy import ALLOW_LIST, HttpsPolicy, is_pattern, matches
from pipeline.adapters.https.store import HttpsStore
from pipeline.adapters.s3.policy import S3Policy
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.fetch import Attempts, Fetcher, Store, Stores
from pipeline.ports import Clock, Meter
from workers.settings.loading import Settings


async def open_stores(settings: Settings) -> Stores:
    """The stores that references may be read from, in their order.

    Raises:
        Halt: there is no store (``settings.invalid``); a store has no credentials, or one of its
            files cannot be read. The stores that were opened before are closed.
    """
    settings.require_stores()
    opened: list[Store] = []
    try:
        for policy in settings.s3_stores:
            opened.append(_s3(policy))
        opened.extend(_web_servers(settings.https))
    except BaseException:
        await Stores(opened).close()
        raise
    return Stores(opened)


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
        policy.allow_list,
        ObstoreS3(policy),
    )


def _web_servers(policy: HttpsPolicy) -> list[Store]:
    """One store for each host that the settings name, and then one for each pattern. All share one
    client."""
    if not policy.allowed_hosts:
        return []
    client = HttpsStore(policy)
    return [
        Store(rule, "https", partial(matches, rule), ALLOW_LIST, client, pattern=is_pattern(rule))
        for rule in sorted(policy.allowed_hosts, key=is_pattern)
    ]
