"""`clipstream backfill …`: what a person types, and what runs a job.

Read ``commands`` first: what a person types, one by one in ``typed``. ``driver`` runs a job to its
end, ``dispatch`` hands shards to workers, ``stuck`` notices that nothing comes of it, and ``lease``
keeps a second driver away. The room ``driving`` has what the driver does meanwhile. ``new_job``
cuts the job of a new output, and ``dry_run`` says what that would take. ``publish`` sends events of
what is committed to Kafka, and ``revising`` works on what a job has written. ``asking`` pauses,
resumes, cancels and scales a job, ``standing`` shows how far it is, and ``retrying`` runs its
failed rows again. ``report`` makes its report.
"""
