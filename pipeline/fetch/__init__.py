"""The fetch stage: how an object gets from the store into memory, and how a bad object is told from
a bad day of the store (docs/fetching.md).

Read ``policy`` (what can be set), ``evidence`` (what the store has answered), ``store_health`` (one
attempt, the breaker and its probe: one of them a store), ``places`` (who may hold an object in
memory, and who goes aside), then ``fetcher``, which puts them together.
"""

from pipeline.fetch.fetcher import Fetcher
from pipeline.fetch.policy import FetchPolicy

__all__ = ["FetchPolicy", "Fetcher"]
