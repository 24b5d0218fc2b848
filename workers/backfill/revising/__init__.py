"""Rows that a job has committed, scored again or erased.

Read ``rescoring`` first: a child job with the scores of other label sets. ``erasing`` takes rows
out of a job's files. ``threads`` runs both on many files at a time.
"""
