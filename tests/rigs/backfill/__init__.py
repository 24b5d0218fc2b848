"""Backfills in a test's hands.

Read ``job_driver`` first: a running job on a clock that a test moves, with made-up workers.
``committed_job`` writes the files of a job as workers do. ``timed_worker`` is built in Ray actors.
``written`` writes what workers have committed. ``planned`` cuts a job of objects that a test names.
``in_process`` runs a whole job in the tests' own process.

``null_job`` runs a whole job whose images cost nothing: ``null_driver`` is the process of its
driver, and ``null_worker`` builds its workers.
"""
