"""The fetch stage: how an object gets from the store into memory, and how a bad object is told from
a bad day of the store (docs/fetching.md).

Read ``policy`` (what can be set), ``stores`` (which store a reference is read from) and ``attempt``
(one attempt, for callers that cannot wait). Then, for patience: ``evidence`` (what a store has
answered), ``store_health`` (the breaker and its probe, one of them a store), ``places`` (who may
hold an object in memory, and who goes aside), and ``fetcher``, which puts them together.
"""

from pipeline.fetch.attempt import Attempts
from pipeline.fetch.fetcher import Fetcher
from pipeline.fetch.policy import FetchPolicy
from pipeline.fetch.stores import Store, Stores

__all__ = ["Attempts", "FetchPolicy", "Fetcher", "Store", "Stores"]
