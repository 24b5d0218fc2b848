"""`clipstream backfill …`: one module a command, and what runs a job.

Read ``commands`` first: what a person types. ``driver`` runs a job to its end, ``dispatch`` hands
shards to workers, and ``lease`` keeps a second driver away.
"""
