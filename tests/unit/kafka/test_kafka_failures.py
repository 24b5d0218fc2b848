"""What each failure of Kafka means, and in which words it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import kafka.errors as kafka_errors
import pytest
from kafka import OffsetAndMetadata

from pipeline.adapters.kafka import admin as kafka_admin
from pipeline.adapters.kafka import enqueue as kafka_enqueue
from pipeline.adapters.kafka import failures
from pipeline.adapters.kafka import outcomes as kafka_outcomes
from pipeline.adapters.kafka.admin import ClusterFacts, KafkaAdmin
from pipeline.adapters.kafka.doctor import KafkaDoctor
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.failures import (
    Meaning,
    administrating,
    committing,
    consuming,
    described,
    enqueueing,
    meaning,
    replaying,
)
from pipeline.adapters.kafka.outcomes import OutcomeReader
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.errors import CommitDoubtful, Halt, PipelineError, Retry
from tests.rigs.failing_producer import refused_with

KAFKA = KafkaPolicy(bootstrap_servers=("a:1", "b:2"))

DECIDED = {
    Meaning.PASSES: """
        -- what kafka-python itself calls retriable: connections, elections, coordinators that move
        Cancelled ConcurrentTransactionsError CoordinatorLoadInProgressError
        CoordinatorNotAvailableError CorrelationIdError ElectionNotNeededError
        EligibleLeadersNotAvailableError FencedLeaderEpochError FetchSessionIdNotFoundError
        FetchSessionTopicIdError InconsistentTopicIdError InvalidFetchSessionEpochError
        InvalidMetadataError InvalidShareSessionEpochError KafkaConnectionError
        KafkaStorageError KafkaTimeoutError LeaderNotAvailableError ListenerNotFoundError
        MetadataEmptyBrokerList NetworkExceptionError NodeNotReadyError NotControllerError
        NotCoordinatorError NotEnoughReplicasAfterAppendError NotEnoughReplicasError
        NotLeaderForPartitionError OffsetNotAvailableError PreferredLeaderNotAvailableError
        ReplicaNotAvailableError RequestTimedOutError RetriableError ShareSessionNotFoundError
        StaleMetadata ThrottlingQuotaExceededError TooManyInFlightRequests
        UnjoinedGroupException UnknownLeaderEpochError UnknownTopicIdError
        UnknownTopicOrPartitionError UnstableOffsetCommitError

        -- answers to requests that are never sent here: of controllers and their voters, tokens,
        -- share groups, groups of the newer protocol, reassignments
        BrokerIdNotRegisteredError DelegationTokenAuthDisabledError DelegationTokenExpiredError
        DelegationTokenNotFoundError DelegationTokenOwnerMismatchError
        DelegationTokenRequestNotAllowedError DuplicateBrokerRegistrationError
        DuplicateResourceError DuplicateVoterError FeatureUpdateFailedError
        FencedMemberEpochError FencedStateEpochError GroupIdNotFoundError
        GroupSubscribedToTopicError InconsistentClusterIdError InconsistentVoterSetError
        IneligibleReplicaError InvalidPrincipalTypeError InvalidRecordStateError
        InvalidRegistrationError InvalidUpdateVersionError InvalidVoterKeyError
        LogDirNotFoundError MismatchedEndpointTypeError NewLeaderElectedError
        NoReassignmentInProgressError NonEmptyGroupError PositionOutOfRangeError
        PrincipalDeserializationFailureError ReassignmentInProgressError ResourceNotFoundError
        SnapshotNotFoundError StaleBrokerEpochError StaleControllerEpochError
        StaleMemberEpochError TelemetryTooLargeError TopicDeletionDisabledError
        TransactionalIdNotFoundError UnacceptableCredentialError UnknownControllerIdError
        UnknownSubscriptionIdError UnreleasedInstanceIdError UnsupportedAssignorError
        UnsupportedEndpointTypeError VoterNotFoundError

        -- a fresh producer, a rejoined group or a change on the broker's side ends these; waiting
        -- loses nothing, and the message names the class
        BrokerNotAvailableError BrokerResponseError CommitFailedError CorruptRecordError
        DuplicateSequenceNumberError GroupMaxSizeReachedError IllegalArgumentError
        IllegalGenerationError IllegalSaslStateError IllegalStateError
        InvalidCommitOffsetSizeError InvalidConfigurationError InvalidFetchRequestError
        InvalidGroupIdError InvalidPartitionsError InvalidProducerIdMappingError
        InvalidReceiveError InvalidRecordError InvalidReplicationAssignmentError
        InvalidReplicationFactorError InvalidRequestError InvalidRequiredAcksError
        InvalidTimestampError InvalidTopicError InvalidTransactionTimeoutError
        InvalidTxnStateError KafkaConfigurationError KafkaError KafkaProtocolError
        MemberIdRequiredError NoError NoOffsetForPartitionError OffsetMetadataTooLargeError
        OffsetMovedToTieredStorageError OperationNotAttemptedError
        OutOfOrderSequenceNumberError PolicyViolationError QuotaViolationError
        RebalanceInProgressError RecordTooLargeError SecurityDisabledError
        TopicAlreadyExistsError TransactionAbortableError TransactionAbortedError
        TransactionCoordinatorFencedError UnknownBrokerIdError UnknownError
        UnknownMemberIdError UnknownProducerIdError UnrecognizedBrokerVersion
        UnsupportedCompressionTypeError UnsupportedForMessageFormatError
        UnsupportedSaslMechanismError
    """,
    Meaning.NOT_AUTHENTICATED: "SaslAuthenticationFailedError",
    Meaning.NOT_AUTHORIZED: """
        AuthorizationError ClusterAuthorizationFailedError DelegationTokenAuthorizationFailedError
        GroupAuthorizationFailedError TopicAuthorizationFailedError
        TransactionalIdAuthorizationFailedError
    """,
    Meaning.REFUSED: """
        IncompatibleBrokerVersion InconsistentGroupProtocolError InvalidSessionTimeoutError
        UnsupportedVersionError
    """,
    Meaning.CODEC_MISSING: "UnsupportedCodecError",
    Meaning.TOO_LARGE: "MessageSizeTooLargeError RecordListTooLargeError",
    Meaning.PRODUCER_FENCED: "InvalidProducerEpochError ProducerFencedError",
    Meaning.MEMBER_FENCED: "FencedInstanceIdError",
    Meaning.OFFSET_OUT_OF_RANGE: "OffsetOutOfRangeError",
    Meaning.LOG_TRUNCATED: "LogTruncationError",
}


class Told(NamedTuple):
    """What an error becomes in each situation."""

    consuming: str
    publishing: str
    committing: str
    administrating: str
    enqueueing: str
    replaying: str


def everywhere(code: str) -> Told:
    return Told(*[f"Halt {code}"] * len(Told._fields))


AWAY = "Retry kafka.unavailable"
REFUSED = "Halt kafka.refused"
DOUBT = "CommitDoubtful kafka.publish_failed"
COMMIT_DOUBT = "CommitDoubtful kafka.commit_failed"
PASSING = Told(AWAY, DOUBT, COMMIT_DOUBT, AWAY, AWAY, AWAY)
TOLD = {
    Meaning.PASSES: PASSING,
    Meaning.NOT_AUTHENTICATED: everywhere("kafka.not_authenticated"),
    Meaning.NOT_AUTHORIZED: everywhere("kafka.not_authorized"),
    Meaning.REFUSED: everywhere("kafka.refused"),
    Meaning.CODEC_MISSING: everywhere("kafka.codec_missing"),
    Meaning.TOO_LARGE: Told(REFUSED, "OutcomeTooLarge", COMMIT_DOUBT, REFUSED, REFUSED, REFUSED),
    Meaning.PRODUCER_FENCED: PASSING._replace(
        publishing="CommitDoubtful kafka.fenced", replaying="Halt replay.fenced"
    ),
    Meaning.MEMBER_FENCED: PASSING._replace(consuming="Halt kafka.fenced"),
    Meaning.OFFSET_OUT_OF_RANGE: PASSING._replace(consuming="Halt kafka.offset_out_of_range"),
    Meaning.LOG_TRUNCATED: PASSING._replace(consuming="Halt kafka.log_truncated"),
}


def exported(kind: type[Any] = kafka_errors.KafkaError) -> Iterator[type[Any]]:
    """The class and all its subclasses in kafka-python, whichever module defines them; without
    those that it makes up for numbers it does not know."""
    if kind.__module__.partition(".")[0] == "kafka" and kind.__name__ != "UnrecognizedBrokerError":
        yield kind
    for each in kind.__subclasses__():
        yield from exported(each)


def decided(kind: type[Any]) -> list[Meaning]:
    return [
        of for of, names in DECIDED.items() if kind.__name__ in re.sub("--.*", "", names).split()
    ]


def administrated(error: Any) -> PipelineError:
    with pytest.raises(PipelineError) as caught, administrating("describing topics"):
        raise error
    return caught.value


def told(failure: Exception) -> str:
    kind = type(failure).__name__
    return f"{kind} {failure.code}" if isinstance(failure, PipelineError) else kind


@pytest.mark.parametrize("kind", sorted({*exported()}, key=str))
def test_every_error_of_the_client_has_one_meaning_that_somebody_decided(kind: type[Any]) -> None:
    error = kind("what the broker says")
    assert decided(kind) == [meaning(error)], f"decide what {kind.__name__} means, in DECIDED above"
    assert TOLD[meaning(error)] == Told(
        told(consuming(error, "group")),
        told(refused_with(error)),
        told(committing(error, "group", "kafka.commit_failed", "committing offsets")),
        told(administrated(error)),
        told(enqueueing(error, "topic")),
        told(replaying(error)),
    )


def test_an_error_that_the_client_does_not_know_may_pass() -> None:
    error = kafka_errors.for_code(32_000)()
    assert type(error).__name__ == "UnrecognizedBrokerError"
    assert meaning(error) is Meaning.PASSES


def test_the_drawn_tree_is_the_one_that_is_read() -> None:
    drawn = re.findall(r"^ +[├└]─ (\w+) +([A-Z_]+)", failures.__doc__ or "", re.MULTILINE)
    assert {name: Meaning[of] for name, of in drawn} == {
        kind.__name__: of for kind, of in failures._MEANINGS.items()
    }


@pytest.mark.parametrize(
    "tell",
    [
        lambda error: consuming(error, "group"),
        refused_with,
        administrated,
        lambda error: enqueueing(error, "topic"),
        replaying,
    ],
    ids=["consuming", "publishing", "administrating", "enqueueing", "replaying"],
)
def test_what_the_broker_says_of_credentials_is_not_repeated(
    tell: Callable[[Any], Any],
) -> None:
    failure = tell(kafka_errors.SaslAuthenticationFailedError("secret"))
    assert failure.message == ("kafka: the broker refuses the credentials; check kafka.security")


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def connect(*_: object) -> None:
        raise error

    monkeypatch.setattr(kafka_admin, "connect", connect)
    monkeypatch.setattr(kafka_enqueue, "connect", connect)
    monkeypatch.setattr(kafka_outcomes, "connect", connect)


@pytest.mark.parametrize(
    "error", [kafka_errors.KafkaTimeoutError("gone"), kafka_errors.KafkaConnectionError("gone")]
)
def test_brokers_that_do_not_answer_are_named_with_what_to_check(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    said = (
        r"^kafka.unavailable: kafka: a:1, b:2 does not answer; check kafka\.bootstrap_servers, the "
        r"network and kafka\.security\.protocol$"
    )
    with pytest.raises(Retry, match=said):
        KafkaAdmin(KAFKA)
    with pytest.raises(Retry, match=said):
        ReferenceProducer(KAFKA, "topic")


def test_refused_credentials_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, kafka_errors.SaslAuthenticationFailedError("secret"))
    with pytest.raises(Halt, match="refuses the credentials"):
        KafkaAdmin(KAFKA)
    with pytest.raises(Halt, match="refuses the credentials"):
        ReferenceProducer(KAFKA, "topic")
    with pytest.raises(Halt, match="refuses the credentials"):
        OutcomeReader(KAFKA)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kafka_errors.OffsetOutOfRangeError({}), "kafka.offset_out_of_range"),
        (kafka_errors.LogTruncationError({}), "kafka.log_truncated"),
        (kafka_errors.TopicAuthorizationFailedError({"t"}), "kafka.not_authorized"),
        (kafka_errors.GroupAuthorizationFailedError("g"), "kafka.not_authorized"),
        (kafka_errors.SaslAuthenticationFailedError("secret"), "kafka.not_authenticated"),
        (kafka_errors.FencedInstanceIdError(), "kafka.fenced"),
        (kafka_errors.UnsupportedCodecError("lz4"), "kafka.codec_missing"),
        (kafka_errors.InvalidSessionTimeoutError(), "kafka.refused"),
        (kafka_errors.InconsistentGroupProtocolError(), "kafka.refused"),
        (kafka_errors.UnsupportedVersionError(), "kafka.refused"),
    ],
)
def test_what_no_wait_can_mend_stops_the_worker(error: kafka_errors.KafkaError, code: str) -> None:
    failure = consuming(error, "the-group")
    assert isinstance(failure, Halt)
    assert failure.code == code
    assert "secret" not in failure.message


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.KafkaTimeoutError("slow"),
        kafka_errors.KafkaConnectionError("gone"),
        kafka_errors.NotCoordinatorError(),
        kafka_errors.CoordinatorLoadInProgressError(),
        kafka_errors.LeaderNotAvailableError(),
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.UnknownTopicOrPartitionError(),
        kafka_errors.UnknownMemberIdError(),
    ],
)
def test_what_may_pass_is_tried_again(error: kafka_errors.KafkaError) -> None:
    failure = consuming(error, "group")
    assert isinstance(failure, Retry)
    assert failure.code == "kafka.unavailable"


def test_the_class_of_an_error_is_named_once() -> None:
    slow = kafka_errors.KafkaTimeoutError("slow")
    assert described(slow) == "KafkaTimeoutError: slow"
    assert described(kafka_errors.KafkaTimeoutError()) == "KafkaTimeoutError"
    assert described(kafka_errors.RequestTimedOutError()) == "[Error 7] RequestTimedOutError"
    whole_answer = kafka_errors.MetadataEmptyBrokerList("topics " * 1000)
    assert described(whole_answer) == ("MetadataEmptyBrokerList: " + "topics " * 1000)[:500] + "…"
    assert consuming(slow, "group").message == "kafka: KafkaTimeoutError: slow"
    doubt = refused_with(slow)
    assert isinstance(doubt, CommitDoubtful)
    assert doubt.message == "kafka: publishing failed (KafkaTimeoutError: slow)"


class RefusingClient:
    """The client of an administration whose requests fail, but for those that tests pass over."""

    def __init__(self, answer: type[Any]) -> None:
        self._answer = answer

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "error_code": 0, "partitions": [{"partition_index": 0}]}
            for name in names
        ]

    def list_group_offsets(self, _: object) -> dict[str, Any]:
        return {}

    def list_partition_offsets(self, asked: dict[Any, Any]) -> dict[Any, Any]:
        return dict.fromkeys(asked, OffsetAndMetadata(0, "", -1))

    def alter_group_offsets(self, _: str, first: dict[Any, Any]) -> dict[Any, type[Any]]:
        return dict.fromkeys(first, self._answer)

    def describe_configs(self, *_: object, **__: object) -> None:
        raise self._answer


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            kafka_errors.CoordinatorLoadInProgressError,
            "kafka.unavailable",
            r"failed \(\[Error 14\] CoordinatorLoadInProgressError\)$",
        ),
        (
            kafka_errors.GroupAuthorizationFailedError,
            "kafka.not_authorized",
            r"is not allowed \(GroupAuthorizationFailedError\)$",
        ),
        (
            kafka_errors.UnknownMemberIdError,
            "kafka.group_not_initialised",
            r"has members but no offsets on topic \(UnknownMemberIdError\)",
        ),
    ],
)
def test_first_offsets_that_are_not_taken_say_why(
    answer: type[Any], code: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_admin, "connect", lambda *_: RefusingClient(answer))
    with pytest.raises(PipelineError, match=said) as caught:
        KafkaAdmin(KAFKA).initialise_group(ClusterFacts("cluster", {"topic": "id"}), "earliest")
    assert caught.value.code == code


def test_a_broker_that_goes_away_during_the_checks_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = RefusingClient(kafka_errors.KafkaConnectionError)
    monkeypatch.setattr(kafka_admin, "connect", lambda *_: gone)
    member = Member("prefix", KAFKA.group, "host", 0)
    checks = KafkaDoctor(KafkaAdmin(KAFKA), KAFKA, DeliveryPolicy(), member, 1).check()
    with pytest.raises(Retry, match="reading settings failed"):
        list(checks)
