"""The stream worker: one member of the group, one transactional producer, one failure domain.

Read ``worker`` first: the Kafka thread's loop. It takes records in (``intake``) and has
``committing`` commit what ``commit_gate`` lets through, as much at once as ``commit_bounds`` says.
``pausing`` and ``gauges`` follow the assignment; ``overload`` tells of a worker that cannot keep
up. ``event_loop`` is where images live. ``wiring`` builds all of it from
settings; ``health`` is what a worker says of itself.
"""
