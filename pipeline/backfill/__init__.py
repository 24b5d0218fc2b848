"""Backfills: what a job is and what is left of it. No I/O but through ``pipeline.ports.Folder``.

Read ``job`` first, then ``layout``: the objects of a job. ``rows`` are what a shard holds,
``ledger`` hands shards out, ``committing`` makes one count, and ``summary`` says what became of its
rows. ``control`` is what a person asks of a running job, and ``policy`` has the settings. The room
``running`` has what a driver knows and decides while the job runs.
"""
