"""Batches for the encoder: ``batching`` collects them, ``isolation`` finds the image at fault."""
