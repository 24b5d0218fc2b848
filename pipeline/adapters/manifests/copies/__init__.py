"""Rows of equal content stand together in a plan, so that a worker reads one object for all.

Read ``contents`` first: what is equal, and the order. ``sorting`` sorts rows that do not fit into
memory.
"""
