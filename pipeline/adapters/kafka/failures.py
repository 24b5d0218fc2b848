"""Translates kafka-python's errors to the pipeline's, by one tree for all callers.

    KafkaError                         PASSES: the same may work later
    ├─ SaslAuthenticationFailedError   NOT_AUTHENTICATED
    ├─ AuthorizationError              NOT_AUTHORIZED, with its five subclasses
    ├─ UnsupportedVersionError         REFUSED, with IncompatibleBrokerVersion
    ├─ InconsistentGroupProtocolError  REFUSED
    ├─ InvalidSessionTimeoutError      REFUSED
    ├─ UnsupportedCodecError           CODEC_MISSING
    ├─ MessageSizeTooLargeError        TOO_LARGE
    ├─ RecordListTooLargeError         TOO_LARGE
    ├─ ProducerFencedError             PRODUCER_FENCED
    ├─ InvalidProducerEpochError       PRODUCER_FENCED
    ├─ FencedInstanceIdError           MEMBER_FENCED
    ├─ OffsetOutOfRangeError           OFFSET_OUT_OF_RANGE
    ├─ LogTruncationError              LOG_TRUNCATED
    └─ every other class               PASSES

The caller chooses the function for what it was doing. Each function translates the meanings:

    meaning              consuming                      publishing        commands, administration
    PASSES               Retry kafka.unavailable        CommitDoubtful    Retry kafka.unavailable
    NOT_AUTHENTICATED    Halt kafka.not_authenticated   the same          the same
    NOT_AUTHORIZED       Halt kafka.not_authorized      the same          the same
    REFUSED              Halt kafka.refused             the same          the same
    CODEC_MISSING        Halt kafka.codec_missing       the same          the same
    TOO_LARGE            Halt kafka.refused             OutcomeTooLarge   Halt kafka.refused
    PRODUCER_FENCED      PASSES                         kafka.fenced      PASSES, but in a replay
    MEMBER_FENCED        Halt kafka.fenced              PASSES            PASSES
    OFFSET_OUT_OF_RANGE  Halt kafka.offset_out_of_range PASSES            PASSES
    LOG_TRUNCATED        Halt kafka.log_truncated       PASSES            PASSES

``sink`` handles two meanings itself before it calls ``publishing``, because it knows which record
is too large and whether it has fenced itself. In a replay a fence is the Halt replay.fenced. A
fenced member learns so from the group at a poll.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, auto

import kafka.errors as kafka_errors

from pipeline.errors import CommitDoubtful, Halt, Retry


class Meaning(Enum):
    """What an error means, whatever the caller was doing."""

    PASSES = auto()
    """Nothing is known to be permanently wrong."""
    NOT_AUTHENTICATED = auto()
    NOT_AUTHORIZED = auto()
    REFUSED = auto()
    """The broker will refuse the request however often it is asked."""
    CODEC_MISSING = auto()
    TOO_LARGE = auto()
    PRODUCER_FENCED = auto()
    """The broker knows of a newer producer with the same transactional id."""
    MEMBER_FENCED = auto()
    """The group knows of a newer member with the same instance id."""
    OFFSET_OUT_OF_RANGE = auto()
    LOG_TRUNCATED = auto()


_MEANINGS: Mapping[type[kafka_errors.KafkaError], Meaning] = {
    kafka_errors.SaslAuthenticationFailedError: Meaning.NOT_AUTHENTICATED,
    kafka_errors.AuthorizationError: Meaning.NOT_AUTHORIZED,
    kafka_errors.UnsupportedVersionError: Meaning.REFUSED,
    kafka_errors.InconsistentGroupProtocolError: Meaning.REFUSED,
    kafka_errors.InvalidSessionTimeoutError: Meaning.REFUSED,
    kafka_errors.UnsupportedCodecError: Meaning.CODEC_MISSING,
    kafka_errors.MessageSizeTooLargeError: Meaning.TOO_LARGE,
    kafka_errors.RecordListTooLargeError: Meaning.TOO_LARGE,
    kafka_errors.ProducerFencedError: Meaning.PRODUCER_FENCED,
    # The broker's other error for the same, when a fenced producer sends.
    kafka_errors.InvalidProducerEpochError: Meaning.PRODUCER_FENCED,
    kafka_errors.FencedInstanceIdError: Meaning.MEMBER_FENCED,
    kafka_errors.OffsetOutOfRangeError: Meaning.OFFSET_OUT_OF_RANGE,
    kafka_errors.LogTruncationError: Meaning.LOG_TRUNCATED,
}

LONGEST_TEXT = 500

_UNANSWERED = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
)


def meaning(error: kafka_errors.KafkaError) -> Meaning:
    """The meaning of the error's nearest class in the tree."""
    classes = (kind for kind in type(error).__mro__ if kind in _MEANINGS)
    return next(map(_MEANINGS.__getitem__, classes), Meaning.PASSES)


def described(error: kafka_errors.KafkaError) -> str:
    """The error's class and text, at most ``LONGEST_TEXT`` characters. Most texts of kafka-python
    name the class. Some quote a whole answer of the broker."""
    kind, text = type(error).__name__, str(error)
    text = text if kind in text else f"{kind}: {text}"
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


# -- what a caller was doing ------------------------------------------------------------------


def consuming(error: kafka_errors.KafkaError, group: str) -> Retry | Halt:
    """The failure to raise after an error of polling the consumer of ``group``."""
    match meaning(error):
        case Meaning.OFFSET_OUT_OF_RANGE:
            return Halt(
                "kafka.offset_out_of_range",
                f"kafka: a committed offset of group {group} is outside its log ({error}): records "
                "were deleted before they were read, or the log was truncated; set the offset with "
                "kafka-consumer-groups.sh --reset-offsets while the group is stopped",
            )
        case Meaning.LOG_TRUNCATED:
            return Halt(
                "kafka.log_truncated",
                f"kafka: an unclean leader election removed records that were already read "
                f"({error}); set the offset by hand and start again",
            )
        case Meaning.MEMBER_FENCED:
            return Halt(
                "kafka.fenced",
                f"kafka: another process has joined group {group} as this member; give each "
                "deployment its own kafka.instance",
            )
        case Meaning.NOT_AUTHORIZED:
            return _not_authorized(
                f"reading is not allowed ({error}); grant Read and Describe on the input topics "
                f"and on group {group}"
            )
    return _anywhere(error, f"kafka: {described(error)}")


def publishing(error: kafka_errors.KafkaError, transactional_id: str) -> CommitDoubtful | Halt:
    """The failure to raise after an error of publishing outcomes under ``transactional_id``, unless
    it is a fence or the size of a record."""
    if meaning(error) is Meaning.NOT_AUTHORIZED:
        return _not_authorized(
            f"publishing is not allowed ({error}); grant Write on the output topics, Read on the "
            f"group, and Write and Describe on transactional id {transactional_id}"
        )
    return _doubtful(error, "kafka.publish_failed", "publishing")


def committing(error: kafka_errors.KafkaError, group: str, code: str, doing: str) -> Retry | Halt:
    """The failure to raise after an error of the consumer of ``group`` while it committed offsets
    or read them back. ``code`` is used if the result is in doubt."""
    if meaning(error) is Meaning.NOT_AUTHORIZED:
        return consuming(error, group)
    return _doubtful(error, code, doing)


@contextmanager
def administrating(doing: str) -> Iterator[None]:
    """For requests to, and changes of, a cluster by its administration API.

    Raises:
        Halt: waiting does not help.
        Retry: it may work later.
    """
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise administrated(error, doing) from error


def administrated(error: kafka_errors.KafkaError, doing: str) -> Retry | Halt:
    """The failure to raise after an error of a request to the administration API."""
    if meaning(error) is Meaning.NOT_AUTHORIZED:
        return _not_authorized(f"{doing} is not allowed ({type(error).__name__})")
    return _anywhere(error, f"kafka: {doing} failed ({described(error)})")


def enqueueing(error: kafka_errors.KafkaError, topic: str) -> Retry | Halt:
    """The failure to raise after an error of publishing references to ``topic``."""
    return _anywhere(error, f"kafka: publishing to {topic} failed ({described(error)})")


def replaying(error: kafka_errors.KafkaError) -> Retry | Halt:
    """The failure to raise after an error of reading dead letters or publishing them again."""
    text = f"kafka: replaying failed ({described(error)})"
    match meaning(error):
        case Meaning.PRODUCER_FENCED:
            return Halt(
                "replay.fenced",
                "replay: another `clipstream replay` of this group has begun; let it end, then "
                "look again at what is left",
            )
        case Meaning.NOT_AUTHORIZED | Meaning.TOO_LARGE:
            text += "; see docs/operations.md for the access rules that it needs"
    return _anywhere(error, text)


@contextmanager
def connecting(
    servers: Sequence[str], failure: Callable[[kafka_errors.KafkaError], Retry | Halt]
) -> Iterator[None]:
    """For making a client. ``failure`` translates the errors of brokers that have answered.

    Raises:
        Retry: no broker has answered, or as ``failure``.
        Halt: as ``failure``.
    """
    try:
        yield
    except _UNANSWERED as error:
        raise Retry(
            "kafka.unavailable",
            f"kafka: {', '.join(servers)} does not answer; check kafka.bootstrap_servers, the "
            "network and kafka.security.protocol",
        ) from error
    except kafka_errors.KafkaError as error:
        raise failure(error) from error


# -- what holds in more than one situation ----------------------------------------------------


def _anywhere(error: kafka_errors.KafkaError, text: str) -> Retry | Halt:
    match meaning(error):
        case Meaning.NOT_AUTHENTICATED:
            # The broker's text about the credentials stays out of the message.
            return Halt(
                "kafka.not_authenticated",
                "kafka: the broker refuses the credentials; check kafka.security",
            )
        case Meaning.NOT_AUTHORIZED:
            return Halt("kafka.not_authorized", text)
        case Meaning.CODEC_MISSING:
            return Halt(
                "kafka.codec_missing",
                f"kafka: a record is compressed with a codec that is not installed here ({error}); "
                "install clipstream[compression]",
            )
        case Meaning.REFUSED | Meaning.TOO_LARGE:
            return Halt("kafka.refused", text)
    return Retry("kafka.unavailable", text)


def _doubtful(error: kafka_errors.KafkaError, code: str, doing: str) -> CommitDoubtful | Halt:
    text = f"kafka: {doing} failed ({described(error)})"
    failure = _anywhere(error, text)
    if isinstance(failure, Halt) and meaning(error) is not Meaning.TOO_LARGE:
        return failure
    return CommitDoubtful(code, text)


def _not_authorized(text: str) -> Halt:
    return Halt("kafka.not_authorized", f"kafka: {text}")
