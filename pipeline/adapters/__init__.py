"""Implementations of the ports: only these import outside libraries.

A room for each part of the world: ``kafka``, ``s3``, ``decode`` (files to pixels), ``clip`` (pixels
and text to embeddings), and ``memory`` (the same ports without a world). Read ``memory`` first: the
ports at their simplest. No room imports another; what several need stands beside them.
"""
