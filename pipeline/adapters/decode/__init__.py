"""Files to pixels, in confined child processes.

Read ``pool`` first: it implements ``pipeline.ports.Decoder`` with the children of ``process``,
to which it speaks by ``wire``. ``child`` is the program of a child: it locks itself in
(``confinement``), undoes codings (``content_coding``), looks at the file's structure
(``image_files``), has it decoded (``pillow``, with ``heif``), and brings it to 8 bits
(``eight_bits``) and to the model's size (``resampler``). Only ``pool``, ``process`` and ``wire``
are loaded by the worker; Pillow is loaded by children alone.
"""
