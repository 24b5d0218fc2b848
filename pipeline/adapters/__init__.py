"""Implementations of the ports. Only these import outside libraries.

There is one room for each part of the outside world: ``kafka``, ``s3``, ``decode`` (files to
pixels), ``clip`` (pixels and text to embeddings), and ``memory`` (the same ports without an outside
world). No room imports another. Modules that several rooms need stand at the top.
"""
