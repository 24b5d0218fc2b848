"""`clipstream backfill …`: one module a command, and what runs a job.

Read ``driver`` first: it runs a job to its end. ``dispatch`` hands shards to workers, and ``lease``
keeps a second driver away. The room ``driving`` has what the driver does meanwhile. ``commands``
are the options. ``asking`` pauses, resumes, cancels and scales a job, ``standing`` shows how far it
is, and ``retrying`` runs its failed rows again.
"""
