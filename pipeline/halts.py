"""Every code of a Halt: what it means, what to do, and whose fault it can be.

A code is never renamed. The table is rendered into docs/reference/codes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Whose fault a halt can be, which decides what it stops."""

    STREAM = "stream"
    """The stream as a whole, or its settings: every worker would meet it. The driver stops."""
    NODE = "node"
    """One machine's own, such as a file that it lacks: the place of the worker that met it stays
    empty and is tried again, the other workers go on. A code that can be either's is a node's:
    that costs a place where the other way costs the stream."""
    COMMAND = "command"
    """A command's input: no worker meets it."""


@dataclass(frozen=True, slots=True)
class HaltCode:
    """One row of the table."""

    fault: Fault
    meaning: str
    remedy: str
    is_of_input: bool = False
    """Whether it is about what a command was given: its arguments, its settings, and the files that
    they name. The command then ends as it does after a mistyped argument."""


def fault_of(code: str) -> Fault:
    """Whose fault a code can be. One that is not in the table is the stream's: it stops loudly."""
    return HALTS[code].fault if code in HALTS else Fault.STREAM


def is_of_input(code: str) -> bool:
    """Whether the code is about what a command was given. One that is not in the table is not."""
    return code in HALTS and HALTS[code].is_of_input


def remedy_of(code: str) -> str:
    """What the table says to do; for a code that is not in it, where to look."""
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
        "an input or output topic does not exist, or may not be described",
        "run `clipstream doctor --create-topics`, or grant Describe",
    ),
    "kafka.offset_missing": _stream(
        "a partition has lost its committed offset, or the group has none at all on a topic and "
        "`delivery.start` is `none`",
        "set the offset",
    ),
    "kafka.offset_out_of_range": _stream(
        "records were deleted before they were read, or the log was cut",
        "set the offset; raise the input's retention",
    ),
    "kafka.log_truncated": _stream(
        "records that were read have vanished, by an unclean leader election",
        "set the offset; turn unclean elections off",
    ),
    "kafka.topic_recreated": _stream(
        "the input topic was deleted and created again",
        "delete the group's offsets on the topic, or use another group",
    ),
    "kafka.group_not_initialised": _stream(
        "the group has members but no offsets on a topic",
        "stop the group's other members, start again",
    ),
    "kafka.fenced": _stream(
        "another process uses the same names in the group or the cluster",
        "give each driver its own `kafka.instance`",
    ),
    "kafka.forked": _stream(
        "the worker's process was forked while it worked",
        "start workers with `stream`; fork nothing inside them",
    ),
    "kafka.not_authorized": _stream(
        "the broker refuses what the principal may not do",
        "grant the access rules",
    ),
    "kafka.not_authenticated": _stream(
        "the broker refuses the principal or its password",
        "mend `kafka.security`",
    ),
    "kafka.refused": _stream(
        "the broker does not take what it was asked for",
        "look up the Kafka error that the message names",
    ),
    "kafka.too_old": _stream(
        "the brokers are older than Kafka 2.8",
        "update the brokers",
    ),
    "kafka.client_version": _node(
        "another release of kafka-python is installed than the one that was tested",
        "install the one that the message names",
    ),
    "kafka.codec_missing": _node(
        "records are compressed with a codec whose package is not installed",
        "install `clipstream[compression]` on the node",
    ),
    # -- What is published, and how much of it may fail
    "publish.too_large": _stream(
        "even a dead letter without its payload does not fit the topic",
        "raise `max.message.bytes` of the dead-letter topic",
    ),
    "budget.spent": _stream(
        "most of a window of references would have become dead letters",
        "look for their common cause, mend it, start again",
    ),
    # -- The driver
    "stream.second_driver": _stream(
        "this host runs a driver of the same brokers, group and instance",
        "stop one of the two, or give it its own `kafka.instance`",
    ),
    "ray.not_started": _stream(
        "nobody answers at RAY_ADDRESS, or Ray cannot be started as it is asked for; a Ray of the "
        "driver's own that is too slow is tried again for 3 minutes and then ends the driver with "
        "exit code 1",
        "write the address of the cluster's head into RAY_ADDRESS, or unset it; see Ray's own logs",
    ),
    "endpoints.port_taken": _node(
        "another program listens on the port of the metrics or of the driver's health",
        "stop the other program, or set `endpoints.metrics_port` or `endpoints.health_port`",
    ),
    "endpoints.discovery_file": _node(
        "the discovery file cannot be written, or holds something else",
        "mend the permissions, free disk space, or name another `endpoints.discovery_file`",
    ),
    # -- Settings and label sets
    "settings.invalid": _node(
        "a setting is wrong, or a file or package that it names cannot be used. The driver "
        "checks settings before it starts workers, so for a worker it is its node that differs",
        "mend the setting that the message names, or put the file on the worker's node",
        of_input=True,
    ),
    "settings.unreadable": _node(
        "the settings file cannot be read",
        "check the path, the permissions and the encoding",
        of_input=True,
    ),
    "label_set.none": _node(
        "no label set is configured",
        "name at least one file in `label_sets.paths`",
        of_input=True,
    ),
    "label_set.invalid": _node(
        "a label set's file is missing or not valid. The driver checks the files before it starts "
        "workers, so for a worker its node has other files, or they were changed since",
        "put the same files on every node; run `clipstream labels check`",
        of_input=True,
    ),
    "label_set.duplicate": _stream(
        "two label sets have one name",
        "rename or remove one",
        of_input=True,
    ),
    "label_set.not_embeddable": _stream(
        "the model makes nothing usable of a label set's prompts",
        "mend the prompts that the message names, or the checkpoint",
        of_input=True,
    ),
    "label_set.pinned": _node(
        "a label set is pinned to another model than the one on the node",
        "load the pinned model, or pin this one with thresholds measured again",
        of_input=True,
    ),
    # -- S3
    "s3.no_credentials": _node(
        "the node has no credentials for a store: none in the environment, files or identity",
        "give the node credentials",
    ),
    "s3.session": _node(
        "the AWS profile or files of the node cannot be used",
        "check `s3.profile`, or that of the store named, and the node's AWS files",
    ),
    "s3.ca_file": _node(
        "the certificate file cannot be read",
        "put `s3.ca_file`, or that of the store named, on the node",
    ),
    # -- The model and its device
    "model.not_found": _node(
        "the model is not on the node, or there is no such revision",
        "put the model on the node, allow its download, or mend `model.directory` and "
        "`model.revision`",
    ),
    "model.unreachable": _node(
        "the model could not be downloaded",
        "check the network, the proxy, the token and the room in `model.cache_directory`",
    ),
    "model.incomplete": _node(
        "a file of the model is missing or damaged",
        "fetch the checkpoint again",
    ),
    "model.unsupported": _node(
        "the checkpoint is not a CLIP model that Clipstream computes",
        "choose another model; if only one node says so, its copy differs: fetch it again",
    ),
    "model.device": _node(
        "the device is missing, or the model does not run on it",
        "check the device, its driver and what else runs there",
    ),
    "model.not_finite": _node(
        "the model makes numbers that are not finite on this device",
        "choose another `model.precision`, or look at the device",
    ),
    "model.prompt_too_long": _stream(
        "a prompt has more tokens than the model takes",
        "shorten the prompt",
    ),
    "model.calibration": _node(
        "the calibration cannot be read, or is another model's",
        "put the directory of `model.calibration` on the node, or run `clipstream calibrate` again",
    ),
    "model.int8_unavailable": _node(
        "int8 needs a package that is not installed",
        "install `clipstream[int8]` on the node",
    ),
    "model.unfaithful": _node(
        "int8 differs too much from fp32 on the images held out",
        "calibrate on more images, or choose another `model.precision`",
    ),
    "encode.out_of_memory": _node(
        "a single image does not fit the device",
        "give the worker more of the device, or stop what else runs there",
    ),
    "encode.unusable": _node(
        "the model fails on every image on this device",
        "look at the device and at `model.precision`",
    ),
    "encode.wrong_shape": _stream(
        "the model's answer has another shape than its configuration says",
        "check the checkpoint",
    ),
    "encode.closed": _stream(
        "an image reached a worker's model after its end: a defect of Clipstream",
        "report the log",
    ),
    # -- Decoders
    "decode.unavailable": _node(
        "no decoder process can be started",
        "check that Pillow is installed whole, and the limits on memory and processes",
    ),
    "decode.geometry": _node(
        "the model's preprocessing asks for a square larger than the resized image",
        "look at the model's preprocessor_config.json",
    ),
    "decode.closed": _stream(
        "an image reached a worker's decoders after their end: a defect of Clipstream",
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
    # -- Commands
    "enqueue.invalid": _command(
        "what `enqueue` was given is not valid", "mend what the message names", of_input=True
    ),
    "enqueue.unreadable": _command(
        "the list cannot be read", "mend the path or the encoding", of_input=True
    ),
    "replay.invalid": _command(
        "what `replay` was given is not valid", "mend what the message names", of_input=True
    ),
    "replay.fenced": _command(
        "another replay of the same group began meanwhile", "run one replay at a time"
    ),
    "calibrate.no_images": _command(
        "there are no images to calibrate on", "name a file or folder with images", of_input=True
    ),
    "calibrate.too_few": _command(
        "too few images can be decoded", "name more images", of_input=True
    ),
    "calibrate.failed": _command(
        "the calibration did not succeed", "read the message", of_input=True
    ),
}
