"""`clipstream backfill rescore` and `erase`.

Read ``rescore`` first: it scores a job's rows again and shows what changed. ``erase`` takes rows
out of a job's files.
"""
