"""`clipstream demo`: generated images, a tiny CLIP, the real stream worker, and a report.

Read ``run`` first: the whole demo in order. ``command`` has its options. ``shapes`` draws the
images, ``odd_images`` the broken ones, ``messages`` refers to them. ``sent`` reads back what was
published, ``account`` compares it with the outcomes. ``backfill`` is the demo of `--backfill`, and
``tables`` asks what it wrote. ``sample`` writes
the images of `--sample`. ``report`` makes the page and ``closing`` prints the end. ``train``
made the model in ``model/``, and ``accuracy`` says how good it is.
"""
