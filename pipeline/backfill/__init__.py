"""Backfills: what a job is and what is left of it. No I/O but through ``pipeline.ports.Folder``.

Read ``job`` first, then ``layout``: the objects of a job. ``rows`` are what a shard holds,
``ledger`` hands shards out, ``committing`` makes one count, and ``summary`` says what became of its
rows. ``report`` has what a report shows: samples, evidence, pace. ``marks`` say what of a job is
published to Kafka. ``control`` is what a person asks of a running job, ``policy`` has the settings,
and ``cost`` estimates hours and money.
"""
