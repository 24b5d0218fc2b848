"""Backfills: a plan of shards, classified by workers on a Ray cluster, committed shard by shard.

Read ``shard`` first: from a plan file to a committed results file. ``worker`` runs shards in a
process of its own, and ``wiring`` builds it. ``output`` opens a job's objects. ``planning`` cuts a
job. ``rescoring`` scores a job's rows again, and ``erasing`` takes rows out of its files.
``dispatch`` hands shards to workers, and ``driver`` runs a job to its end.
"""
