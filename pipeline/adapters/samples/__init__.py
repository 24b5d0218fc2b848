"""Labelled images on this machine's disk, the embeddings that were made of them, and what they
teach.

Read ``reading`` first: which form a sample has. ``folders`` and ``tables`` read the forms, and
``parquet`` makes ``rows`` of Parquet files. ``embeddings`` keeps embeddings between runs.
``fitting`` learns from labels by scikit-learn.
"""
