"""Batches for the encoder.

Read ``batching`` first: it collects images into batches. ``isolation`` finds the image at fault
when a batch fails.
"""
