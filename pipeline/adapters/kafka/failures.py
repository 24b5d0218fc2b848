"""What errors of kafka-python mean for the worker."""

from __future__ import annotations

from collections.abc import Sequence

import kafka.errors as kafka_errors

from pipeline.errors import Halt, Retry

REFUSED = (
    kafka_errors.InconsistentGroupProtocolError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.InvalidSessionTimeoutError,
)

UNANSWERED = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
)


def consuming(error: kafka_errors.KafkaError, group: str) -> Retry | Halt:
    """The failure to raise for an error of the consumer of ``group``."""
    if isinstance(error, kafka_errors.OffsetOutOfRangeError):
        return Halt(
            "kafka.offset_out_of_range",
            f"kafka: a committed offset of group {group} is outside its log ({error}): records "
            "were deleted before they were read, or the log was truncated; set the offset with "
            "kafka-consumer-groups.sh --reset-offsets while the group is stopped",
        )
    if isinstance(error, kafka_errors.LogTruncationError):
        return Halt(
            "kafka.log_truncated",
            f"kafka: records that were read have vanished from the log ({error}), by an unclean "
            "leader election; set the offset by hand and start again",
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return Halt(
            "kafka.not_authorized",
            f"kafka: reading is not allowed ({error}); grant Read and Describe on the input topics "
            f"and on group {group}",
        )
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return refused()
    if isinstance(error, kafka_errors.FencedInstanceIdError):
        return Halt(
            "kafka.fenced",
            f"kafka: another process has joined group {group} as this member; give each "
            "deployment its own kafka.instance",
        )
    if isinstance(error, kafka_errors.UnsupportedCodecError):
        return Halt(
            "kafka.codec_missing",
            f"kafka: a record is compressed by what is not installed here ({error}); install "
            "clipstream[compression]",
        )
    if isinstance(error, REFUSED):
        return Halt("kafka.refused", f"kafka: {described(error)}")
    return Retry("kafka.unavailable", f"kafka: {described(error)}")


def described(error: kafka_errors.KafkaError) -> str:
    """The error's class and text: kafka-python has most texts begin with the class already."""
    kind, text = type(error).__name__, str(error)
    return text if text.startswith(kind) else f"{kind}: {text}"


def unanswered(error: kafka_errors.KafkaError, servers: Sequence[str]) -> Retry | None:
    """The failure to raise for an error of making a client, where no broker has answered."""
    if not isinstance(error, UNANSWERED):
        return None
    return Retry(
        "kafka.unavailable",
        f"kafka: {', '.join(servers)} does not answer; check kafka.bootstrap_servers, the network "
        "and kafka.security.protocol",
    )


def refused() -> Halt:
    """The failure to raise where the broker does not take the credentials. What it says of them
    stays out of the message."""
    return Halt(
        "kafka.not_authenticated",
        "kafka: the broker refuses the credentials; check kafka.security",
    )
