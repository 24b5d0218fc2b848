"""Codes of workers, and of the drivers and servers that run them."""

from __future__ import annotations

from pipeline.halts.code import HaltCode, command, node, stream

WORKERS: dict[str, HaltCode] = {
    # -- Kafka
    "kafka.topic_missing": stream(
        "an input or output topic does not exist, or the principal may not describe it",
        "run `clipstream doctor --create-topics`, or grant Describe",
    ),
    "kafka.offset_missing": stream(
        "a partition has lost its committed offset, or the group has no offsets on a topic and "
        "`delivery.start` is `none`",
        "set the offset",
    ),
    "kafka.offset_out_of_range": stream(
        "records were deleted before they were read, or the log was cut",
        "set the offset, and raise the retention of the input topic",
    ),
    "kafka.log_truncated": stream(
        "an unclean leader election removed records that were already read",
        "set the offset, and turn unclean elections off",
    ),
    "kafka.topic_recreated": stream(
        "the input topic was deleted and created again; or the message names a later release",
        "delete the group's offsets on the topic, or use another group; for a later release see "
        "docs/operations.md, Roll out a version",
    ),
    "kafka.group_not_initialised": stream(
        "the group has members but no offsets on a topic",
        "stop the group's other members, then start again",
    ),
    "kafka.fenced": stream(
        "another process uses the same names in the group or the cluster",
        "give each driver its own `kafka.instance`",
    ),
    "kafka.forked": stream(
        "the worker's process was forked while it worked",
        "start workers with `stream`, and fork nothing inside them",
    ),
    "kafka.not_authorized": stream(
        "the broker refuses an operation that the principal may not do",
        "grant the access rules",
    ),
    "kafka.not_authenticated": stream(
        "the broker refuses the principal or its password",
        "fix `kafka.security`",
    ),
    "kafka.refused": stream(
        "the broker refuses a request",
        "look up the Kafka error that the message names",
    ),
    "kafka.too_old": stream(
        "the brokers are older than Kafka 2.8",
        "update the brokers",
    ),
    "kafka.client_version": node(
        "the installed release of kafka-python is not the tested one",
        "install the release that the message names",
    ),
    "kafka.codec_missing": node(
        "records are compressed with a codec whose package is not installed",
        "install `clipstream[compression]` on the node",
    ),
    # -- Traces
    "tracing.packages_missing": node(
        "`tracing.enabled` needs packages that are not installed",
        "install `clipstream[tracing]` on the node",
    ),
    "tracing.invalid": node(
        "a variable of OpenTelemetry has a value that Clipstream cannot use",
        "correct the variable that the message names",
    ),
    # -- What is published, and how much of it may fail
    "publish.too_large": stream(
        "even a dead letter without its payload is too large for the topic",
        "raise `max.message.bytes` of the dead-letter topic",
    ),
    "budget.spent": stream(
        "most of a window of references would have become dead letters",
        "find and remove their common cause, then start again",
    ),
    # -- The driver
    "stream.second_driver": stream(
        "this host already runs a driver with the same brokers, group and instance",
        "stop one of the two drivers, or give it its own `kafka.instance`",
    ),
    "ray.not_started": stream(
        "nothing answers at RAY_ADDRESS, or Ray cannot be started as configured. If the driver's "
        "own Ray is only too slow, the driver tries again for 3 minutes and then ends with exit "
        "code 1",
        "set RAY_ADDRESS to the address of the cluster's head, or unset it; read Ray's own logs",
    ),
    "serve.port_taken": command(
        "another program listens on the port of `clipstream serve`",
        "stop the other program, or set `serve.port`",
        of_input=True,
    ),
    "serve.second_server": command(
        "another `clipstream serve` runs on the Ray cluster that RAY_ADDRESS names",
        "stop the other server, or use another cluster",
    ),
    "serve.not_started": command(
        "Ray Serve does not start on the cluster",
        "read Ray's own logs; set `serve.proxy` to `python` if HAProxy is at fault",
    ),
    "serve.proxy": command(
        "`serve.proxy` is `haproxy` on a machine without HAProxy's package",
        "install `ray[serve]` on Linux on x86-64, or set `serve.proxy` to `python`",
        of_input=True,
    ),
    "endpoints.port_taken": node(
        "another program listens on the metrics port or the driver's health port",
        "stop the other program, or set `endpoints.metrics_port` or `endpoints.health_port`",
    ),
    "endpoints.discovery_file": node(
        "the discovery file cannot be written, or the file holds something else",
        "fix the permissions, free disk space, or name another `endpoints.discovery_file`",
    ),
    # -- Settings and label sets
    "settings.invalid": node(
        "a setting is wrong, or a file or package that it names cannot be used. The driver checks "
        "settings before it starts workers, so a worker that meets this runs on a node that "
        "differs",
        "fix the setting that the message names, or put the file on the worker's node",
        of_input=True,
    ),
    "settings.unreadable": node(
        "the settings file cannot be read",
        "check the path, the permissions and the encoding",
        of_input=True,
    ),
    "settings.secret_missing": node(
        "the driver has a secret that the worker's machine has not. Secrets do not travel through "
        "Ray",
        "set the variable that the message names in the environment of Ray's processes on that "
        "machine, as from a Secret of the pod",
    ),
    "label_set.none": node(
        "no label set is configured",
        "name at least one file in `label_sets.paths`",
        of_input=True,
    ),
    "label_set.invalid": node(
        "a label set's file is missing or invalid. The driver checks the files before it starts "
        "workers, so a worker that meets this has other files on its node, or the files have "
        "changed since",
        "put the same files on every node, and run `clipstream labels check`",
        of_input=True,
    ),
    "label_set.duplicate": stream(
        "two label sets have the same name",
        "rename or remove one of them",
        of_input=True,
    ),
    "label_set.not_embeddable": stream(
        "the model produces nothing usable from a label set's prompts",
        "fix the prompts that the message names, or the checkpoint",
        of_input=True,
    ),
    "label_set.too_large": stream(
        "a label set does not fit the topic that keeps label sets",
        "split the label set, or follow the message",
        of_input=True,
    ),
    "label_set.pinned": node(
        "a label set is pinned to another model than the node's",
        "load the pinned model, or measure the thresholds again and pin the node's model",
        of_input=True,
    ),
    "known.invalid": node(
        "the files of a list of known pictures are missing or invalid, or no label set has the "
        "list's action",
        "mend what the message names, and put the same files on every node",
        of_input=True,
    ),
    # -- S3
    "s3.no_credentials": node(
        "the node has no credentials for a store: none in the environment, in files or from an "
        "identity",
        "give the node credentials",
    ),
    "s3.session": node(
        "the AWS profile or files of the node cannot be used",
        "check the `profile` of the store that the message names (`s3.profile`), and the node's "
        "AWS files",
    ),
    "s3.ca_file": node(
        "the CA certificate file cannot be read",
        "put the `ca_file` of the store that the message names (`s3.ca_file`) on the node",
    ),
    # -- Web servers
    "https.ca_file": node(
        "the file of certificate authorities for web servers cannot be read, or holds none",
        "put the file that `https.ca_file` names on the node",
    ),
    # -- The model and its device
    "model.not_found": node(
        "the model is not on the node, or the revision does not exist",
        "put the model on the node, allow its download, or fix `model.directory` and "
        "`model.revision`",
    ),
    "model.unreachable": node(
        "the model could not be downloaded",
        "check the network, the proxy, the token and the free space in `model.cache_directory`",
    ),
    "model.incomplete": node(
        "a file of the model is missing or damaged",
        "download the checkpoint again",
    ),
    "model.another_revision": command(
        "the checkpoint in S3 is not the one that the command names",
        "name the prefix of that checkpoint, or the revision that is there",
        of_input=True,
    ),
    "model.unwritable": command(
        "the directory that a checkpoint is copied to cannot be written",
        "fix its owner, or give it more space",
        of_input=True,
    ),
    "model.unsupported": node(
        "the checkpoint is not a CLIP model that Clipstream supports",
        "choose another model; if only one node reports this, download its copy again",
    ),
    "model.device": node(
        "the device is missing, or the model does not run on it",
        "check the device, its driver and other programs that use it",
    ),
    "model.not_finite": node(
        "the model computes numbers that are not finite on this device",
        "choose another `model.precision`, or check the device",
    ),
    "model.prompt_too_long": stream(
        "a prompt has more tokens than the model accepts",
        "shorten the prompt",
    ),
    "model.calibration": node(
        "the calibration cannot be read, or belongs to another model",
        "put the directory of `model.calibration` on the node, or run `clipstream calibrate` again",
    ),
    "model.int8_unavailable": node(
        "int8 needs a package that is not installed",
        "install `clipstream[int8]` on the node",
    ),
    "model.unfaithful": node(
        "int8 differs too much from fp32 on the held-out images",
        "calibrate on more images, or choose another `model.precision`",
    ),
    "encode.out_of_memory": node(
        "the device has not enough memory for a single image",
        "give the worker a larger part of the device, or stop other programs that use it",
    ),
    "encode.unusable": node(
        "the model fails on every image on this device",
        "check the device and `model.precision`",
    ),
    "encode.wrong_shape": stream(
        "the model's output has another shape than its configuration says",
        "check the checkpoint",
    ),
    "encode.closed": stream(
        "an image reached a worker's model after the model was closed: a defect of Clipstream",
        "report the log",
    ),
    # -- Decoders
    "decode.unavailable": node(
        "no decoder process can be started",
        "check that Pillow is installed completely, and check the limits on memory and processes",
    ),
    "decode.geometry": node(
        "the model's preprocessing asks for a square larger than the resized image",
        "check the model's preprocessor_config.json",
    ),
    "decode.closed": stream(
        "an image reached a worker's decoders after they were closed: a defect of Clipstream",
        "report the log",
    ),
    # -- The worker itself
    "worker.package_missing": node(
        "a Python package or a shared library cannot be loaded on the node",
        "install the same packages on every node",
    ),
    "worker.loop_died": stream(
        "the worker's event loop has ended: a defect of Clipstream",
        "report the traceback in the log",
    ),
    "worker.unexpected": stream(
        "an outcome cannot be published: a defect of Clipstream",
        "report the traceback in the log",
    ),
}
