"""What every Kafka client of ours is told, and how Kafka's errors become ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import errors
from catalog.events import SecurityProtocol
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
from router.domain.kafka_connection import SASL_MECHANISMS, KafkaConnection

REQUEST_TIMEOUT_S: Final = 15.0
RECORD_BYTES_MAX: Final = 24 * 1024 * 1024
"""Largest record that we send; a result may have 15 MB, and a customer's record passes as it is."""
REQUEST_ROOM_BYTES: Final = 512 * 1024
"""For headers and framing around the largest record: a dead letter is larger than its record."""

_MEANINGS: Final[tuple[tuple[tuple[type[errors.KafkaError], ...], type[EventflowsError]], ...]] = (
    ((errors.OffsetOutOfRangeError, errors.NoOffsetForPartitionError), PositionLost),
    (
        (
            errors.CommitFailedError,
            errors.IllegalGenerationError,
            errors.UnknownMemberIdError,
            errors.RebalanceInProgressError,
            errors.IllegalStateError,
        ),
        StaleAssignment,
    ),
    (
        (
            errors.TopicAuthorizationFailedError,
            errors.GroupAuthorizationFailedError,
            errors.ClusterAuthorizationFailedError,
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
    (
        (
            errors.MessageSizeTooLargeError,
            errors.RecordListTooLargeError,
            errors.OffsetMetadataTooLargeError,
        ),
        TooLarge,
    ),
)


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turn what aiokafka raises into the errors of `kernel.errors`; `doing` begins the sentence."""
    try:
        yield
    except errors.KafkaError as error:
        meaning = _meaning(error)
        text = f"{doing}: {describe(error)}"
        if meaning is PositionLost:
            text += (
                "; the broker no longer has the records at the flow's position (retention, or a"
                " topic that was made anew): set the group's offsets with Kafka's own tool"
            )
        raise meaning(text) from error
    except TimeoutError as error:
        raise Unavailable(f"{doing}: no answer in time") from error
    except OSError as error:
        raise Unavailable(f"{doing}: {error.strerror or type(error).__name__}") from error


def describe(error: errors.KafkaError) -> str:
    """The name of the error, and its message if there is one."""
    text = str(error)
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name


def client_settings(connection: KafkaConnection, *, client_id: str) -> dict[str, Any]:
    """Keyword arguments of any aiokafka client. Raises InvalidInput."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(connection.bootstrap_servers),
        "client_id": client_id,
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
    }
    if connection.security_protocol is SecurityProtocol.SASL_SSL:
        if connection.sasl_mechanism not in SASL_MECHANISMS:
            raise InvalidInput(f"the SASL mechanism must be one of {', '.join(SASL_MECHANISMS)}")
        settings |= {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": connection.sasl_mechanism,
            "sasl_plain_username": connection.username,
            "sasl_plain_password": connection.password,
            "ssl_context": tls_context(connection),
        }
    elif connection.security_protocol is not SecurityProtocol.PLAINTEXT:
        raise InvalidInput("the security protocol must be PLAINTEXT or SASL_SSL")
    return settings


def tls_context(connection: KafkaConnection) -> ssl.SSLContext:
    """Trust the connection's own authority, or the system's. Raises InvalidInput."""
    try:
        return ssl.create_default_context(cadata=connection.ca_certificate or None)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput("the CA certificate is no PEM text with a certificate") from error


def _meaning(error: errors.KafkaError) -> type[EventflowsError]:
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return meaning
    return Unavailable
