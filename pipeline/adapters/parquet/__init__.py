"""A backfill's tables as Parquet, through pyarrow.

Read ``columns`` first: which columns there are, and what they mean. ``plan`` has the rows of a
shard before they are classified, and ``cutting`` makes it. ``results`` has the rows that were
classified, and ``failures`` those that failed; ``values`` and ``scored`` make their columns.
``committed`` reads files of results again, ``rescoring`` scores their embeddings with other label
sets, and ``erasing`` takes rows out.
"""
