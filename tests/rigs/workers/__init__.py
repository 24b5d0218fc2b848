"""Workers and their supervisor, or parts of them, turned by a test.

Read ``stream_worker`` first: a stream worker on the broker in memory. ``worker_of_deployment`` runs
one on a real Kafka, ``stream_in_virtual_time`` only its intake, commit window and fetch stage.
``committing`` has the parts that commit. ``outcomes``, ``open_gate``, ``scripted_trials`` and
``plenty`` are what these parts are given. ``supervisor`` has a supervisor and made-up workers, and
``driver_here`` the real driver in the tests' own process. ``backfill_places`` are workers as a
backfill's driver sees them, and ``outcomes_of_backfills`` outcomes of rows. ``fixed_time_worker``
and ``faulty_node`` build workers in Ray actors.
"""
