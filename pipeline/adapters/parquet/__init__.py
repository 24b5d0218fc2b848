"""A backfill's tables as Parquet, through pyarrow.

``plan`` has the rows of a shard before they are classified, ``results`` those that were, and
``failures`` those that failed. ``columns`` says which columns there are.
"""
