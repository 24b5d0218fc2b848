"""Kafka over kafka-python.

Read ``stream`` first: it implements ``pipeline.ports.Stream`` and is all that a worker sees. It
reads by ``reading``, ``offsets`` and ``ends``, and publishes by ``sink`` over ``producer``. Both
use the clients of ``clients``, which mend what ``DEFECTS.md`` lists. ``policy`` and ``security``
are the settings. ``failures`` says what the client's errors mean. The other modules serve commands:
``admin``, ``doctor``, ``enqueue``, ``replay`` and ``outcomes``.
"""
