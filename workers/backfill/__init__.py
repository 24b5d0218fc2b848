"""Backfills: a plan of shards, classified by workers on a Ray cluster, committed shard by shard.

Read ``shard`` first: from a plan file to a committed results file. ``worker`` runs shards in a
process of its own, and ``wiring`` builds it. ``pacer`` keeps a worker within its share of the job's
rate, and ``pace`` says how long its rows will take. ``output`` opens a job's objects.

``planning`` cuts a job. ``planning_request`` is what a person asks for, ``planning_sources`` reads
it, from ``planning_files``, and ``planning_rate`` measures for a dry run. ``repeating`` cuts a job
of the failed rows of another one. ``publishing`` sends a job's events to Kafka.
"""
