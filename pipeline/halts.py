"""Every code of a Halt: what it means, what to do, and whose fault it can be.

A code is never renamed. The table is rendered into docs/reference/codes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a halt can be, which decides what the halt stops."""

    STREAM = "stream"
    """The whole stream's fault, or its settings': every worker would meet it. The driver stops."""
    NODE = "node"
    """One machine's own fault, such as a missing file. The place of the worker that met it stays
    empty and is tried again; the other workers go on. A code that can be either kind counts as a
    node's, because a wrong guess then costs one place and not the stream."""
    COMMAND = "command"
    """The fault of a command's input: no worker meets it."""


@dataclass(frozen=True, slots=True)
class HaltCode:
    """One row of the table."""

    fault: Fault
    meaning: str
    remedy: str
    is_of_input: bool = False
    """Whether the code concerns the input of a command: its arguments, its settings, and the files
    that they name. The command then ends as it does after a mistyped argument."""


def fault_of(code: str) -> Fault:
    """Whose fault a code can be. An unknown code is the stream's, so that it stops loudly."""
    return HALTS[code].fault if code in HALTS else Fault.STREAM


def is_of_input(code: str) -> bool:
    """Whether the code concerns the input of a command. An unknown code does not."""
    return code in HALTS and HALTS[code].is_of_input


def remedy_of(code: str) -> str:
    """The table's remedy for a code; for an unknown code, where to look."""
    return HALTS[code].remedy if code in HALTS else "see the worker's log"


def _stream(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    return HaltCode(Fault.STREAM, meaning, remedy, of_input)


def _node(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    return HaltCode(Fault.NODE, meaning, remedy, of_input)


def _command(meaning: str, remedy: str, *, of_input: bool = False) -> HaltCode:
    return HaltCode(Fault.COMMAND, meaning, remedy, of_input)


HALTS: dict[str, HaltCode] = {
    # -- Kafka
    "kafka.topic_missing": _stream(
        "an input or output topic does not exist, or the principal may not describe it",
        "run `clipstream doctor --create-topics`, or grant Describe",
    ),
    "kafka.offset_missing": _stream(
        "a partition has lost its committed offset, or the group has no offsets on a topic and "
        "`delivery.start` is `none`",
        "set the offset",
    ),
    "kafka.offset_out_of_range": _stream(
        "records were deleted before they were read, or the log was cut",
        "set the offset, and raise the retention of the input topic",
    ),
    "kafka.log_truncated": _stream(
        "an unclean leader election removed records that were already read",
        "set the offset, and turn unclean elections off",
    ),
    "kafka.topic_recreated": _stream(
        "the input topic was deleted and created again",
        "delete the group's offsets on the topic, or use another group",
    ),
    "kafka.group_not_initialised": _stream(
        "the group has members but no offsets on a topic",
        "stop the group's other members, then start again",
    ),
    "kafka.fenced": _stream(
        "another process uses the same names in the group or the cluster",
        "give each driver its own `kafka.instance`",
    ),
    "kafka.forked": _stream(
        "the worker's process was forked while it worked",
        "start workers with `stream`, and fork nothing inside them",
    ),
    "kafka.not_authorized": _stream(
        "the broker refuses an operation that the principal may not do",
        "grant the access rules",
    ),
    "kafka.not_authenticated": _stream(
        "the broker refuses the principal or its password",
        "fix `kafka.security`",
    ),
    "kafka.refused": _stream(
        "the broker refuses a request",
        "look up the Kafka error that the message names",
    ),
    "kafka.too_old": _stream(
        "the brokers are older than Kafka 2.8",
        "update the brokers",
    ),
    "kafka.client_version": _node(
        "the installed release of kafka-python is not the tested one",
        "install the release that the message names",
    ),
    "kafka.codec_missing": _node(
        "records are compressed with a codec whose package is not installed",
        "install `clipstream[compression]` on the node",
    ),
    # -- Traces
    "tracing.packages_missing": _node(
        "`tracing.enabled` needs packages that are not installed",
        "install `clipstream[tracing]` on the node",
    ),
    "tracing.invalid": _node(
        "a variable of OpenTelemetry has a value that Clipstream cannot use",
        "correct the variable that the message names",
    ),
    # -- What is published, and how much of it may fail
    "publish.too_large": _stream(
        "even a dead letter without its payload is too large for the topic",
        "raise `max.message.bytes` of the dead-letter topic",
    ),
    "budget.spent": _stream(
        "most of a window of references would have become dead letters",
        "find and remove their common cause, then start again",
    ),
    # -- The driver
    "stream.second_driver": _stream(
        "this host already runs a driver with the same brokers, group and instance",
        "stop one of the two drivers, or give it its own `kafka.instance`",
    ),
    "ray.not_started": _stream(
        "nothing answers at RAY_ADDRESS, or Ray cannot be started as configured. If the driver's "
        "own Ray is only too slow, the driver tries again for 3 minutes and then ends with exit "
        "code 1",
        "set RAY_ADDRESS to the address of the cluster's head, or unset it; read Ray's own logs",
    ),
    "serve.port_taken": _command(
        "another program listens on the port of `clipstream serve`",
        "stop the other program, or set `serve.port`",
        of_input=True,
    ),
    "serve.second_server": _command(
        "another `clipstream serve` runs on the Ray cluster that RAY_ADDRESS names",
        "stop the other server, or use another cluster",
    ),
    "serve.not_started": _command(
        "Ray Serve does not start on the cluster",
        "read Ray's own logs; set `serve.proxy` to `python` if HAProxy is at fault",
    ),
    "serve.proxy": _command(
        "`serve.proxy` is `haproxy` on a machine without HAProxy's package",
        "install `ray[serve]` on Linux on x86-64, or set `serve.proxy` to `python`",
        of_input=True,
    ),
    "endpoints.port_taken": _node(
        "another program listens on the metrics port or the driver's health port",
        "stop the other program, or set `endpoints.metrics_port` or `endpoints.health_port`",
    ),
    "endpoints.discovery_file": _node(
        "the discovery file cannot be written, or the file holds something else",
        "fix the permissions, free disk space, or name another `endpoints.discovery_file`",
    ),
    # -- Settings and label sets
    "settings.invalid": _node(
        "a setting is wrong, or a file or package that it names cannot be used. The driver checks "
        "settings before it starts workers, so a worker that meets this runs on a node that "
        "differs",
        "fix the setting that the message names, or put the file on the worker's node",
        of_input=True,
    ),
    "settings.unreadable": _node(
        "the settings file cannot be read",
        "check the path, the permissions and the encoding",
        of_input=True,
    ),
    "settings.secret_missing": _node(
        "the driver has a secret that the worker's machine has not. Secrets do not travel through "
        "Ray",
        "set the variable that the message names in the environment of Ray's processes on that "
        "machine, as from a Secret of the pod",
    ),
    "label_set.none": _node(
        "no label set is configured",
        "name at least one file in `label_sets.paths`",
        of_input=True,
    ),
    "label_set.invalid": _node(
        "a label set's file is missing or invalid. The driver checks the files before it starts "
        "workers, so a worker that meets this has other files on its node, or the files have "
        "changed since",
        "put the same files on every node, and run `clipstream labels check`",
        of_input=True,
    ),
    "label_set.duplicate": _stream(
        "two label sets have the same name",
        "rename or remove one of them",
        of_input=True,
    ),
    "label_set.not_embeddable": _stream(
        "the model produces nothing usable from a label set's prompts",
        "fix the prompts that the message names, or the checkpoint",
        of_input=True,
    ),
    "label_set.pinned": _node(
        "a label set is pinned to another model than the node's",
        "load the pinned model, or measure the thresholds again and pin the node's model",
        of_input=True,
    ),
    # -- S3
    "s3.no_credentials": _node(
        "the node has no credentials for a store: none in the environment, in files or from an "
        "identity",
        "give the node credentials",
    ),
    "s3.session": _node(
        "the AWS profile or files of the node cannot be used",
        "check the `profile` of the store that the message names (`s3.profile`), and the node's "
        "AWS files",
    ),
    "s3.ca_file": _node(
        "the CA certificate file cannot be read",
        "put the `ca_file` of the store that the message names (`s3.ca_file`) on the node",
    ),
    # -- Web servers
    "https.ca_file": _node(
        "the file of certificate authorities for web servers cannot be read, or holds none",
        "put the file that `https.ca_file` names on the node",
    ),
    # -- The model and its device
    "model.not_found": _node(
        "the model is not on the node, or the revision does not exist",
        "put the model on the node, allow its download, or fix `model.directory` and "
        "`model.revision`",
    ),
    "model.unreachable": _node(
        "the model could not be downloaded",
        "check the network, the proxy, the token and the free space in `model.cache_directory`",
    ),
    "model.incomplete": _node(
        "a file of the model is missing or damaged",
        "download the checkpoint again",
    ),
    "model.another_revision": _command(
        "the checkpoint in S3 is not the one that the command names",
        "name the prefix of that checkpoint, or the revision that is there",
        of_input=True,
    ),
    "model.unwritable": _command(
        "the directory that a checkpoint is copied to cannot be written",
        "fix its owner, or give it more space",
        of_input=True,
    ),
    "model.unsupported": _node(
        "the checkpoint is not a CLIP model that Clipstream supports",
        "choose another model; if only one node reports this, download its copy again",
    ),
    "model.device": _node(
        "the device is missing, or the model does not run on it",
        "check the device, its driver and other programs that use it",
    ),
    "model.not_finite": _node(
        "the model computes numbers that are not finite on this device",
        "choose another `model.precision`, or check the device",
    ),
    "model.prompt_too_long": _stream(
        "a prompt has more tokens than the model accepts",
        "shorten the prompt",
    ),
    "model.calibration": _node(
        "the calibration cannot be read, or belongs to another model",
        "put the directory of `model.calibration` on the node, or run `clipstream calibrate` again",
    ),
    "model.int8_unavailable": _node(
        "int8 needs a package that is not installed",
        "install `clipstream[int8]` on the node",
    ),
    "model.unfaithful": _node(
        "int8 differs too much from fp32 on the held-out images",
        "calibrate on more images, or choose another `model.precision`",
    ),
    "encode.out_of_memory": _node(
        "the device has not enough memory for a single image",
        "give the worker a larger part of the device, or stop other programs that use it",
    ),
    "encode.unusable": _node(
        "the model fails on every image on this device",
        "check the device and `model.precision`",
    ),
    "encode.wrong_shape": _stream(
        "the model's output has another shape than its configuration says",
        "check the checkpoint",
    ),
    "encode.closed": _stream(
        "an image reached a worker's model after the model was closed: a defect of Clipstream",
        "report the log",
    ),
    # -- Decoders
    "decode.unavailable": _node(
        "no decoder process can be started",
        "check that Pillow is installed completely, and check the limits on memory and processes",
    ),
    "decode.geometry": _node(
        "the model's preprocessing asks for a square larger than the resized image",
        "check the model's preprocessor_config.json",
    ),
    "decode.closed": _stream(
        "an image reached a worker's decoders after they were closed: a defect of Clipstream",
        "report the log",
    ),
    # -- The worker itself
    "worker.package_missing": _node(
        "a Python package or a shared library cannot be loaded on the node",
        "install the same packages on every node",
    ),
    "worker.loop_died": _stream(
        "the worker's event loop has ended: a defect of Clipstream",
        "report the traceback in the log",
    ),
    "worker.unexpected": _stream(
        "an outcome cannot be published: a defect of Clipstream",
        "report the traceback in the log",
    ),
    # -- Serving over HTTP
    "serve.no_keys": _command(
        "the server would listen where others can reach it, and no keys are configured",
        "write a key with `clipstream keys create` and set `serve.keys`, or listen on 127.0.0.1",
        of_input=True,
    ),
    "keys.invalid": _node(
        "a file of keys cannot be read, or one of its lines is not valid",
        "fix what the message names; `clipstream keys list` checks the file",
        of_input=True,
    ),
    "keys.unwritable": _command(
        "the file of keys cannot be written", "fix the permissions of its folder", of_input=True
    ),
    "keys.no_file": _command(
        "neither the command nor the settings name a file of keys",
        "name it with --file, or set `serve.keys`",
        of_input=True,
    ),
    "keys.too_many_live": _command(
        "two keys of the name are live already", "revoke one of them first", of_input=True
    ),
    "keys.unknown": _command(
        "no key has the id", "look the id up with `clipstream keys list`", of_input=True
    ),
    # -- Commands
    "enqueue.invalid": _command(
        "the input of `enqueue` is not valid", "fix what the message names", of_input=True
    ),
    "enqueue.unreadable": _command(
        "the list cannot be read", "fix the path or the encoding", of_input=True
    ),
    "verify.invalid": _command(
        "the object, the image or the prefix given to `verify` is not valid",
        "fix what the message names",
        of_input=True,
    ),
    "verify.exists": _command(
        "`verify --upload` would overwrite an object",
        "leave `--upload` out, or name a key that is free",
    ),
    "replay.invalid": _command(
        "the input of `replay` is not valid", "fix what the message names", of_input=True
    ),
    "replay.fenced": _command(
        "another replay of the same group has begun meanwhile", "run one replay at a time"
    ),
    "calibrate.no_images": _command(
        "there are no images to calibrate with",
        "name a file or a folder that contains images",
        of_input=True,
    ),
    "calibrate.too_few": _command(
        "too few images can be decoded", "name more images", of_input=True
    ),
    "calibrate.failed": _command(
        "the calibration did not succeed", "follow the message", of_input=True
    ),
    # -- backfill
    "backfill.invalid": _command(
        "a source or an output is not named as it must be",
        "write it as the message says",
        of_input=True,
    ),
    "backfill.packages_missing": _command(
        "the packages of backfills are not installed",
        "install `clipstream[backfill]`",
        of_input=True,
    ),
    "backfill.no_rows": _command(
        "the source of a job holds nothing to classify",
        "check its prefix, or what was left out",
        of_input=True,
    ),
    "backfill.unlistable": _command(
        "a store lists its keys in another order than S3 does, or lists a key that is no UTF-8",
        "set `backfill.listing_requests` to 1, or rename the object",
    ),
    "backfill.too_many_shards": _command(
        "the source has more rows than a job's shards can hold",
        "raise `backfill.shard_rows`",
        of_input=True,
    ),
    "backfill.manifest_invalid": _command(
        "a row or a column of a manifest is not as it must be",
        "mend the row that the message names",
        of_input=True,
    ),
    "backfill.manifest_damaged": _command(
        "a manifest is cut off, or differs from its checksum",
        "write or copy the manifest again",
        of_input=True,
    ),
    "backfill.another_source": _command(
        "the output has a job that was cut from another source, or with other options",
        "repeat the command of the job, or choose another output",
        of_input=True,
    ),
    "backfill.unreadable": _stream(
        "an object of the output was not written by this release",
        "use the release that began the job, or another output",
    ),
    "backfill.foreign_output": _stream(
        "the output holds objects of another job, or of another program",
        "choose an empty output",
    ),
    "backfill.plan_missing": _stream(
        "a file of the job's plan is gone",
        "restore it, or begin another job",
    ),
    "backfill.another_identity": _stream(
        "this worker would compute the rows of the job in another way than the first one: with "
        "another model, label set, precision or decode mode",
        "restore what the job began with, or begin another job with another output",
    ),
    "backfill.column_taken": _stream(
        "a label set has the name of another column of the results",
        "give the label set another name",
    ),
    "backfill.too_many_failures": _stream(
        "more rows of a shard failed than `backfill.max_failed_share` allows",
        "mend the cause, or raise the share",
    ),
    "backfill.no_job": _command(
        "the output holds no job",
        "name the output of `clipstream backfill run`",
        of_input=True,
    ),
    "backfill.invalid_share": _command(
        "`--share` is not as it must be",
        "write it as the message says",
        of_input=True,
    ),
    "backfill.mark_lost": _command(
        "events of the job were published, and Kafka has forgotten how many: its offsets expire "
        "after `offsets.retention.minutes` (7 days) without a commit",
        "raise this setting of the brokers before the next job. `--again` publishes all events of "
        "this job once more, under the same ids",
    ),
    "backfill.second_publisher": _command(
        "another publisher has taken over the shards that this one published",
        "let it finish. Start several publishers with different `--share`",
    ),
    "backfill.poison": _stream(
        "workers die on too many shards or rows of a job for single objects to be the cause",
        "look at why the workers die, such as too little memory, and run the command again",
    ),
    "backfill.stuck": _stream(
        "workers have shards in work, and no row has had an outcome for `backfill.stuck_s`: a "
        "store refuses or fails everything that is left",
        "mend what the message names, and run the command again",
    ),
    "backfill.output_refused": _stream(
        "the store of the output refuses results",
        "give the workers the rights that the message names, and run the command again",
    ),
    "backfill.second_driver": _command(
        "another driver runs the job",
        "let it finish, or stop it",
    ),
    "backfill.no_embeddings": _command(
        "the job was run without embeddings, so nothing can be scored again",
        "run a job with `backfill.embeddings`, or run the job anew with the other label sets",
    ),
    "backfill.changed_meanwhile": _command(
        "another program has written to a file of the output while rows were erased from it",
        "stop the other program and its workers, then run the command again",
    ),
    "backfill.another_model": _command(
        "the settings name another model than the job's, so its embeddings cannot be compared with "
        "prompts",
        "name the job's model in the settings",
        of_input=True,
    ),
    "backfill.another_rescore": _command(
        "the output has another job than this rescoring",
        "choose an empty output",
        of_input=True,
    ),
    "backfill.no_errors": _command(
        "no row of the job failed with the codes that `retry` was given",
        "check the codes; `clipstream backfill status` lists them",
        of_input=True,
    ),
    "backfill.lease_lost": _stream(
        "another driver has taken the job over, or may have: this driver could not renew its lease",
        "let the other driver finish, or run the command again",
    ),
}
