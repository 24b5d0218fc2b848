"""Files to pixels, in confined child processes.

Read ``pool`` first: it implements ``pipeline.ports.Decoder`` with the children of ``process``, and
talks to them by ``wire``. ``ending`` says what the end of a child means for its image. ``child`` is
the program of a child. It locks itself in (``confinement``), undoes codings (``content_coding``),
checks the file's structure (``image_files``), decodes the file (``pillow``, with ``heif`` and
``animation``), and brings it to 8 bits (``eight_bits``) and to the model's size (``resampler``).
``pdq`` hashes the picture for lists of known pictures. The worker loads only ``pool``, ``process``
and ``wire``; only the children load Pillow.
"""
