"""What a job's report is made of: kept by each shard beside its rows, and put together later.

Read ``footer`` first: what a data file says about itself. ``samples`` are some rows of each label
and code, ``evidence`` compares scores with what people say, and ``pace`` is the rate over time.
"""
