"""What every Kafka client of ours is told: who we are, how long we wait, how we enter.

Two things that have no setting are mended here: aiokafka 0.14 (pinned) lets a broker make topics
that are only asked about, and Python loads a client's key from a file only.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from aiokafka.protocol.metadata import MetadataRequest
from catalog.events import SecurityProtocol
from kernel.errors import InvalidInput

from router.domain.kafka_connection import SASL_MECHANISMS, KafkaConnection

REQUEST_TIMEOUT_S: Final = 15.0
IDLE_TIMEOUT_S: Final = 180.0
"""Below the four minutes after which load balancers of clouds forget a connection in silence."""
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest record that we send; most topics take less. A broker cuts the connection at a request of
more than 100 MiB (its default), and a record stands in one with what else is on its way."""

_TLS: Final = frozenset({SecurityProtocol.SSL, SecurityProtocol.SASL_SSL})
_SASL: Final = frozenset({SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL})

_tls_contexts: WeakValueDictionary[tuple[str, str, str], ssl.SSLContext] = WeakValueDictionary()
"""Shared by the clients of a connection: the system's authorities take 10 ms and 1 MB to load. The
last client takes the context, and with it the key, out of memory."""


def client_settings(connection: KafkaConnection, *, client_id: str) -> dict[str, Any]:
    """Keyword arguments of any aiokafka client. Raises InvalidInput."""
    protocol = connection.security_protocol
    if protocol is SecurityProtocol.UNSPECIFIED:
        raise InvalidInput("the security protocol must be named")
    settings: dict[str, Any] = {
        "bootstrap_servers": list(connection.bootstrap_servers),
        "client_id": client_id,
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        "connections_max_idle_ms": int(IDLE_TIMEOUT_S * 1000),
        "security_protocol": protocol.name,
    }
    if protocol in _SASL:
        if connection.sasl_mechanism not in SASL_MECHANISMS:
            raise InvalidInput(f"the SASL mechanism must be one of {', '.join(SASL_MECHANISMS)}")
        settings |= {
            "sasl_mechanism": connection.sasl_mechanism,
            "sasl_plain_username": connection.username,
            "sasl_plain_password": connection.password,
        }
    if protocol in _TLS:
        settings["ssl_context"] = tls_context(connection)
    return settings


def tls_context(connection: KafkaConnection) -> ssl.SSLContext:
    """Trust the connection's own authority, or the system's; show its certificate if it has one.

    Raises InvalidInput.
    """
    texts = (connection.ca_certificate, connection.client_certificate, connection.client_key)
    context = _tls_contexts.get(texts)
    if context is None:
        context = _tls_contexts[texts] = _make_tls_context(*texts)
    return context


def _make_tls_context(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput("the CA certificate is no PEM text with a certificate") from error
    if bool(certificate) != bool(key):
        raise InvalidInput("a client certificate and its key are given together")
    if certificate:
        try:
            with _unseen_file(f"{key}\n{certificate}") as path:
                context.load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise InvalidInput(
                "the client certificate and its key are no PEM texts that belong together, or the"
                " key is encrypted"
            ) from error
    return context


@contextmanager
def _unseen_file(text: str) -> Iterator[str]:
    """A path from which this process reads the text: memory that has no name where Linux gives it
    (it never comes near a disk), else a file that only we may read and that is gone at once."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-key", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp()
    try:
        with open(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(text)
        yield path
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            os.unlink(path)


def _no_password() -> str:
    """OpenSSL would ask at the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted")


def _never_make_topics() -> None:
    """Make every metadata request of this process say that no topic may be made by asking for it.

    aiokafka builds them in three places without that argument, and its default is yes: a customer's
    broker with `auto.create.topics.enable` (Kafka's default) would make a topic for each typing
    error, and each flow that outlives its topic would bring that topic back.
    """
    MetadataRequest.__init__.__defaults__ = (None, False)


_never_make_topics()
