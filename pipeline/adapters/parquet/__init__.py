"""A backfill's tables as Parquet, through pyarrow.

Read ``columns`` first: which columns there are. ``cutting`` cuts rows into shards, ``plan`` has the
rows of a shard before they are classified, ``results`` those that were, and ``failures`` those that
failed. ``outcomes`` reads both back, and ``footer`` what a data file says about itself. ``values``
are what several tables share.
"""
