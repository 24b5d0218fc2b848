"""`clipstream backfill …`: one module a command, and what runs a job.

Read ``driver`` first: it runs a job to its end. ``dispatch`` hands shards to workers, and ``lease``
keeps a second driver away.
"""
