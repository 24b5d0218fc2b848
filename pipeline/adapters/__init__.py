"""Implementations of the ports. In the pipeline, only these import outside libraries.

There is one room for each part of the outside world: ``kafka``, ``s3``, ``https`` (images on web
servers), ``decode`` (files to pixels), ``clip`` (pixels and text to embeddings), ``parquet``
(tables of backfills), ``manifests`` (files that name their objects), ``samples`` (labelled images),
``opentelemetry`` (traces), and ``memory`` (the same ports without an outside world).
Read ``memory`` first: the ports at their simplest. No room imports another, but for ``manifests``,
which are read into the tables of ``parquet``. ``clock``, ``processors``, ``yaml_lines`` and
``head_files`` (weights of label sets) serve several rooms and workers. ``certificates``, ``jpeg``,
``label_files``, ``known_files`` and ``prometheus`` are adapters of one module each.
"""
