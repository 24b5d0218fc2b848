"""What a person types after `clipstream backfill`, with its options.

Read ``running`` first: commands that run a job. ``steering`` shows a job and tells it what to do,
and ``afterwards`` works on what it has written. ``options`` are what several of them share.
"""
