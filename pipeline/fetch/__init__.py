"""The fetch stage: how an object gets from the store into memory, and how a bad object is told from
an outage of the store (docs/fetching.md).

Read ``policy`` (the settings), ``stores`` (which store a reference is read from) and ``attempt``
(one attempt, for callers that cannot wait). Then, for patience: ``evidence`` (what a store has
answered), ``store_health`` (the breaker and the probe of one store), ``healths`` (those of all
stores, and of the hosts that patterns admit), ``places`` (which objects are
held in memory, and which go aside), and ``fetcher``, which combines them.
"""

from pipeline.fetch.attempt import Attempts
from pipeline.fetch.fetcher import Fetcher
from pipeline.fetch.policy import FetchPolicy
from pipeline.fetch.stores import Store, Stores, store_of

__all__ = ["Attempts", "FetchPolicy", "Fetcher", "Store", "Stores", "store_of"]
