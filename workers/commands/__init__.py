"""One file a subcommand of `clipstream`; ``workers.cli`` declares the options of those that import
heavy libraries.

Read ``stream`` first: the main job. ``doctor`` checks what it needs, ``verify`` sends one object
all the way, and ``config`` shows what it is told. ``enqueue`` and ``replay`` publish references,
``labels`` looks at label sets and measures them, with ``evaluation`` below it, ``evaluate``
measures a model, ``drift`` compares images with a reference, and ``explain`` derives an event's
scores again (in ``explaining``). ``calibrate`` prepares a model and ``model`` copies one.
``backfill`` runs jobs of many objects, ``serving`` answers HTTP requests, and ``keys`` writes keys
of the server. ``options``, ``signals`` and ``progress`` are what several commands share.
"""
