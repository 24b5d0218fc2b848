"""`clipstream backfill …`: what a person types, and what runs a job.

Read ``commands`` first: what a person types. ``driver`` runs a job to its end, ``dispatch`` hands
shards to workers, and ``lease`` keeps a second driver away. The room ``driving`` has what the
driver does meanwhile. ``new_job`` cuts the job of a new output, and ``dry_run`` says what that
would take. ``asking`` pauses, resumes, cancels and scales a job, ``standing`` shows how far it is,
and ``retrying`` runs its failed rows again. ``stuck`` notices that nothing gets an outcome, and
``publish`` sends the events to Kafka.
"""
