"""What happens to one image, whatever process it happens in.

Read ``records`` and ``errors`` first: the words that everybody uses. Then ``ports``, what the
pipeline needs of the world, and ``flow``, the life of one image, with ``look``, the half of it that
knows no store, and ``rules``, what a flow needs of label sets and known lists. Its stages are
``fetch``, ``decode``, ``encode`` and ``labels``; ``known`` compares images with lists of known
pictures. ``formats``, ``routes`` and ``references`` make references of
bytes, ``events`` makes records of outcomes.
``commit`` decides what the stream may commit, ``replay`` sends dead letters back. ``backfill`` is
what a job of many objects is, ``evaluation`` what labelled images say about scores, ``drift``
compares scores with those of a reference, and ``content`` names what an embedding is of.
``adapters`` implements the ports. ``metrics`` and ``halts`` are tables; ``retry``, ``priority``,
``policy`` and ``complaints`` are small tools.
"""
