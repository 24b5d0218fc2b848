"""Backfills: what a job is and what is left of it. No I/O but through ``pipeline.ports.Folder``.

Read ``job`` first, then ``layout``: the objects of a job. ``rows`` are what a shard holds,
``ledger`` hands shards out, ``committing`` makes one count, and ``summary`` says what became of its
rows. ``report`` has what a report shows: samples, evidence, pace. ``control`` is what a person asks
of a running job, and ``policy`` has the settings.
"""
