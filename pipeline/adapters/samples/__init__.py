"""Labelled images on this machine's disk, and the embeddings that were made of them.

Read ``reading`` first: which form a sample has. ``folders`` and ``tables`` read the forms, and
``parquet`` makes ``rows`` of Parquet files. ``embeddings`` keeps embeddings between runs.
"""
