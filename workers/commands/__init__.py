"""One file a subcommand of `clipstream`; ``workers.cli`` declares their options.

Read ``stream`` first: the main job. ``doctor`` checks what it needs and ``config`` shows what it is
told. ``enqueue`` and ``replay`` publish references, ``labels`` looks at label sets, ``keys`` writes
keys of the server, ``calibrate``
prepares a model. ``options`` and ``progress`` are what several commands share.
"""
