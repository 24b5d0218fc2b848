"""The report of a job: one HTML page, made from the ends of its data files.

Read ``gather`` first: it reads what the shards say about themselves. ``page`` makes the page of it,
with the lines of ``charts``, and ``thumbnails`` are pictures of the samples. ``write`` does all of
it.
"""
