"""Backfills: what a job is and what is left of it. No I/O but through ``pipeline.ports.Folder``.

Read ``job`` first, then ``layout``: the objects of a job. ``rows`` are what a shard holds,
``ledger`` hands shards out, ``committing`` makes one count, ``conditions`` finds out what the store
makes of that, and ``summary`` says what became of the rows. ``budget`` says how many may fail.
``marks`` say what of a job is published to Kafka. ``control`` is what a person asks of a running
job, ``policy`` has the settings, and ``cost`` estimates hours and money. ``changes`` say what other
label sets change, and ``erasure`` what was erased. The room ``running`` has what a driver knows and
decides while the job runs, and ``report`` what a report shows: samples, evidence, pace.
"""
