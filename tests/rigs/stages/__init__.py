"""The stages of an image's path under test, and what they are fed with.

Read ``batching`` first: a batcher in a test's hands. ``fetching`` is a fetcher on a scripted store,
``decoding`` has files for decoders, and ``image_files`` puts files together field by field.
``clip_checkpoints`` makes and writes models, and ``int8`` calibrates one. ``pipeline_of_fakes`` is
a whole pipeline whose outcomes can be foretold, with the ``fault_steps`` at which it can be made to
fail. ``null_shards`` has jobs of backfills whose rows cost nothing, and reads their results back.
``at_no_cost`` has stages that cost nothing, for measuring the rest. ``backfill_rows`` has rows of
backfills and files of their results, and ``backfill_job`` a whole output. ``traced`` remembers what
a tracer is told of a worker's images. ``looked`` has images that were looked at.
"""
