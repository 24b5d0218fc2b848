"""Kafka over kafka-python.

Read ``stream`` first: it implements ``pipeline.ports.Stream``, which is all that a worker sees. It
reads with ``reading``, ``offsets`` and ``ends``, and publishes with ``sink`` over ``producer``.
Both use the clients of ``clients``, which work around the defects in ``DEFECTS.md``. ``policy`` and
``security`` hold the settings. ``failures`` translates the client's errors. ``admin`` looks after
topics, groups and their members, for the driver, for commands and for a worker's start. ``doctor``,
``enqueue`` and ``replay`` serve the commands of these names. ``served`` publishes events of images
that came over HTTP, ``backfill`` those of a backfill's rows. ``outcomes`` reads what was published,
for the demo and tests. ``watching`` looks at the topics from outside, for the console. ``recorded``
reads what was published long ago, and keeps label sets.
"""
