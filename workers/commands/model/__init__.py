"""`clipstream model`: checkpoints, and how they come to where a worker reads them.

Read ``commands`` first: the options. ``fetch`` copies a checkpoint from S3.
"""
