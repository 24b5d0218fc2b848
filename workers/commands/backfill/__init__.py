"""`clipstream backfill …`: ``commands`` is its command line.

Read ``driver`` first: it runs a job to its end. ``dispatch`` hands shards to workers, and ``lease``
keeps a second driver away. ``rescore`` and ``erase`` work on what a job has written.
"""
