"""Batches for the encoder.

Read ``batching`` first: it collects images into batches. ``isolation`` finds the image at fault
when a batch fails. ``pace`` measures how fast batches end, to say how long a caller would wait.
``policy`` has the settings of batches.
"""
