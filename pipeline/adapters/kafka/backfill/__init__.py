"""Publishes the rows of backfills.

Read ``lanes`` first: it publishes events together with a mark. ``topics`` says which topics there
must be.
"""
