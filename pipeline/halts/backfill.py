"""Codes of backfills."""

from __future__ import annotations

from pipeline.halts.code import HaltCode, command, stream

BACKFILL: dict[str, HaltCode] = {
    "backfill.invalid": command(
        "a source or an output is not named as it must be",
        "write it as the message says",
        of_input=True,
    ),
    "backfill.packages_missing": command(
        "the packages of backfills are not installed",
        "install `clipstream[backfill]`",
        of_input=True,
    ),
    "backfill.no_rows": command(
        "the source of a job holds nothing to classify",
        "check its prefix, or what was left out",
        of_input=True,
    ),
    "backfill.unlistable": command(
        "a store lists its keys in another order than S3 does, or lists a key that is no UTF-8",
        "set `backfill.listing_requests` to 1, or rename the object",
    ),
    "backfill.too_many_shards": command(
        "the source has more rows than a job's shards can hold",
        "raise `backfill.shard_rows`",
        of_input=True,
    ),
    "backfill.manifest_invalid": command(
        "a row or a column of a manifest is not as it must be",
        "mend the row that the message names",
        of_input=True,
    ),
    "backfill.manifest_damaged": command(
        "a manifest is cut off, or differs from its checksum",
        "write or copy the manifest again",
        of_input=True,
    ),
    "backfill.disk_full": command(
        "the folder for temporary files has no room for the rows that wait there while a job is "
        "cut",
        "make room there, or set `TMPDIR` to another folder, and run the command again",
    ),
    "backfill.another_source": command(
        "the output has a job that was cut from another source, or with other options",
        "repeat the command of the job, or choose another output",
        of_input=True,
    ),
    "backfill.unreadable": stream(
        "an object of the output was not written by this release",
        "use the release that began the job, or another output",
    ),
    "backfill.foreign_output": stream(
        "the output holds objects of another job, or of another program",
        "choose an empty output",
    ),
    "backfill.plan_missing": stream(
        "a file of the job's plan is gone",
        "restore it, or begin another job",
    ),
    "backfill.another_identity": stream(
        "this worker would compute the rows of the job in another way than the first one: with "
        "another model, label set, precision or decode mode",
        "restore what the job began with, or begin another job with another output",
    ),
    "backfill.column_taken": stream(
        "a label set has the name of another column of the results",
        "give the label set another name",
    ),
    "backfill.too_many_failures": stream(
        "more rows of a shard, or of the whole job, failed than `backfill.max_failed_share` allows",
        "mend the cause, or raise the share, and run the command again; failures that are "
        "committed are run again by `clipstream backfill retry`",
    ),
    "backfill.no_job": command(
        "the output holds no job",
        "name the output of `clipstream backfill run`",
        of_input=True,
    ),
    "backfill.invalid_share": command(
        "`--share` is not as it must be",
        "write it as the message says",
        of_input=True,
    ),
    "backfill.mark_lost": command(
        "events of the job were published, and Kafka has forgotten how many: its offsets expire "
        "after `offsets.retention.minutes` (7 days) without a commit",
        "raise this setting of the brokers before the next job. `--again` publishes all events of "
        "this job once more, under the same ids",
    ),
    "backfill.second_publisher": command(
        "another publisher has taken over the shards that this one published",
        "let it finish. Start several publishers with different `--share`",
    ),
    "backfill.poison": stream(
        "workers die on too many shards or rows of a job for single objects to be the cause",
        "look at why the workers die, such as too little memory, and run the command again",
    ),
    "backfill.stuck": stream(
        "workers have shards in work, and for `backfill.stuck_s` no row has had an outcome, or no "
        "shard could be committed: a store refuses or fails everything that is left, or the output "
        "is full",
        "mend what the message names, and run the command again",
    ),
    "backfill.output_refused": stream(
        "the store of the output refuses results",
        "give the workers the rights that the message names, and run the command again",
    ),
    "backfill.second_driver": command(
        "another driver runs the job",
        "let it finish, or stop it",
    ),
    "backfill.no_embeddings": command(
        "the job was run without embeddings, so nothing can be scored again",
        "run a job with `backfill.embeddings`, or run the job anew with the other label sets",
    ),
    "backfill.changed_meanwhile": command(
        "another program has written to a file of the output while rows were erased from it",
        "stop the other program and its workers, then run the command again",
    ),
    "backfill.another_model": command(
        "the settings name another model than the job's, so its embeddings cannot be compared with "
        "prompts",
        "name the job's model in the settings",
        of_input=True,
    ),
    "backfill.another_rescore": command(
        "the output has another job than this rescoring",
        "choose an empty output",
        of_input=True,
    ),
    "backfill.no_errors": command(
        "no row of the job failed with the codes that `retry` was given",
        "check the codes; `clipstream backfill status` lists them",
        of_input=True,
    ),
    "backfill.lease_lost": stream(
        "another driver has taken the job over, or may have: this driver could not renew its lease",
        "let the other driver finish, or run the command again",
    ),
}
