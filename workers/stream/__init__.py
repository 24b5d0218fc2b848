"""The stream worker: one member of the group, one transactional producer, one failure domain.

Read ``worker`` first: the Kafka thread's loop. It takes records in (``intake``) and lets
``committing`` commit the outcomes that ``commit_gate`` admits, in the amounts that
``commit_bounds`` allows. ``trials`` tells the gate whether known good images fail too. ``pausing``
and ``gauges`` follow the assignment. ``overload`` logs when a worker cannot keep up, and
``drift`` has results compared with a reference. ``wiring`` builds everything from settings.
"""
