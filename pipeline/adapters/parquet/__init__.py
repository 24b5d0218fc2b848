"""A backfill's tables as Parquet, through pyarrow.

Read ``columns`` first: which columns there are, and what they mean. ``cutting`` cuts rows into
shards, and ``plan`` has the rows of a shard before they are classified. ``results`` has those that
were classified, and ``failures`` those that failed, which ``failed`` reads again; ``values`` and
``scored`` make their columns. ``outcomes`` reads both back row by row, and ``committed`` in
columns, which ``tally`` counts and samples. ``rescoring`` scores embeddings with other label sets,
and ``erasing`` takes rows out. ``footer`` reads what a data file says of itself.
"""
