"""How Kafka's errors become ours, and what each says to the person who reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiokafka import errors
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    NotAllowed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

from router.domain.errors import PositionLost, StaleAssignment


class FencedInstanceIdError(errors.BrokerResponseError):  # type: ignore[misc]
    """Another member joined under our name."""

    errno = 82
    message = "FENCED_INSTANCE_ID"


class GroupMaxSizeReachedError(errors.BrokerResponseError):  # type: ignore[misc]
    """The broker allows the group no more members."""

    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"


class UnstableOffsetCommitError(errors.BrokerResponseError):  # type: ignore[misc]
    """The group's offsets wait for a transaction to end."""

    errno = 88
    message = "UNSTABLE_OFFSET_COMMIT"
    retriable = True


class InvalidRecordError(errors.BrokerResponseError):  # type: ignore[misc]
    """The topic takes no such record: one without a key, in a compacted topic."""

    errno = 87
    message = "INVALID_RECORD"


for _kind in (
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    UnstableOffsetCommitError,
    InvalidRecordError,
):
    errors.kafka_errors.setdefault(_kind.errno, _kind)
"""aiokafka 0.14 has no class for these codes, and calls each of them `UnknownError`."""

_MEANINGS: Final[tuple[tuple[tuple[type[errors.KafkaError], ...], type[EventflowsError]], ...]] = (
    ((errors.OffsetOutOfRangeError, errors.NoOffsetForPartitionError), PositionLost),
    (
        (
            errors.CommitFailedError,
            errors.IllegalGenerationError,
            errors.UnknownMemberIdError,
            errors.RebalanceInProgressError,
            errors.IllegalStateError,
            FencedInstanceIdError,
        ),
        StaleAssignment,
    ),
    (
        (
            errors.TopicAuthorizationFailedError,
            errors.GroupAuthorizationFailedError,
            errors.ClusterAuthorizationFailedError,
            errors.TransactionalIdAuthorizationFailed,
            errors.PolicyViolationError,
        ),
        NotAllowed,
    ),
    (
        (
            errors.SaslAuthenticationFailed,
            errors.AuthenticationFailedError,
            errors.AuthenticationMethodNotSupported,
            errors.UnsupportedSaslMechanismError,
            errors.IllegalSaslStateError,
        ),
        Unauthenticated,
    ),
    ((errors.UnknownTopicOrPartitionError, errors.InvalidTopicError), NotFound),
    ((InvalidRecordError,), InvalidInput),
    (
        (
            errors.MessageSizeTooLargeError,
            errors.RecordListTooLargeError,
            errors.OffsetMetadataTooLargeError,
        ),
        TooLarge,
    ),
)

_ADVICE: Final[tuple[tuple[type[errors.KafkaError], str], ...]] = (
    (
        errors.OffsetOutOfRangeError,
        "the broker no longer has the records at the flow's position (retention, or a topic that"
        " was made anew): set the group's offsets with Kafka's own tool",
    ),
    (errors.GroupAuthorizationFailedError, "give the connection's user READ on that group"),
    (
        errors.TopicAuthorizationFailedError,
        "give the connection's user DESCRIBE and READ on the topic to read it, DESCRIBE and WRITE"
        " to write it",
    ),
    (
        errors.ClusterAuthorizationFailedError,
        "give the connection's user IDEMPOTENT_WRITE on the cluster, or WRITE on the topic",
    ),
    (InvalidRecordError, "a compacted topic takes no record without a key"),
    (
        errors.CorruptRecordException,
        "a record cannot be read: it is damaged, or a header's name is no UTF-8",
    ),
)


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turn what aiokafka raises into the errors of `kernel.errors`; `doing` begins the sentence."""
    try:
        yield
    except errors.KafkaError as error:
        advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
        text = f"{doing}: {describe(error)}"
        raise meaning_of(error)(f"{text}; {advice}" if advice else text) from error
    except TimeoutError as error:
        raise Unavailable(f"{doing}: no answer in time") from error
    except OSError as error:
        raise Unavailable(f"{doing}: {error.strerror or type(error).__name__}") from error


def describe(error: errors.KafkaError) -> str:
    """The name of the error, and its message if there is one."""
    text = str(error)
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


def meaning_of(error: errors.KafkaError) -> type[EventflowsError]:
    """Our kind of error; Unavailable for whatever may pass by itself."""
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return meaning
    return Unavailable
