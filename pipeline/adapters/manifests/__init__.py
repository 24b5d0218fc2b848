"""Manifests: files that name the objects of a backfill, read as streams of rows.

Only this room and ``parquet`` know pyarrow, and DuckDB.

Read ``kinds`` first: which kinds of sources there are, and how one is recognised. ``chunks`` are
rows of a file as they were read: from ``text`` (CSV), ``lines`` (JSON lines) or ``columnar``
(Parquet, ORC). ``own`` makes entries of a person's own manifest, and ``inventory`` of S3 Inventory
and S3 Batch Operations; both convert with ``values`` and refuse with ``checks``. ``deciding`` says
which entries become rows of a plan, and ``repeats`` counts objects that stand in a manifest twice.
``earlier`` knows the objects that earlier jobs have, and ``copies`` brings rows of equal content
together: both keep what they compare on ``disk``, which also says that it is full.
"""
