"""Certificates that customers give us, checked where they enter. No sentence repeats a text."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from kernel.errors import InvalidInput, TooLarge

from registry.domain.connection import CERTIFICATE_LENGTH_MAX

CLIENT_KEY_LENGTH_MAX = 16 * 1024


def certificates(field: str, pem: str) -> str:
    """The text itself, if it holds one or more certificates in PEM and nothing secret.

    Raises InvalidInput, TooLarge.
    """
    _parsed(field, pem)
    return pem


def client_key(key_pem: str, *, certificate_pem: str) -> str:
    """The key itself, if it is in PEM, open, and that of the first certificate.

    Raises InvalidInput, TooLarge.
    """
    if len(key_pem) > CLIENT_KEY_LENGTH_MAX:
        raise TooLarge(f"client_key must have at most {CLIENT_KEY_LENGTH_MAX} characters")
    _check_ascii("client_key", key_pem)
    certificate = _parsed("client_certificate", certificate_pem)[0]
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except TypeError as error:
        raise InvalidInput(
            "client_key is locked by a pass phrase: send it without one, it is kept encrypted"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("client_key must be a private key in PEM") from error
    if key.public_key() != certificate.public_key():
        raise InvalidInput(
            "client_key is not the key of client_certificate: the client's own certificate must be "
            "the first one"
        )
    return key_pem


def _parsed(field: str, pem: str) -> list[x509.Certificate]:
    if len(pem) > CERTIFICATE_LENGTH_MAX:
        raise TooLarge(f"{field} must have at most {CERTIFICATE_LENGTH_MAX} characters")
    if "PRIVATE KEY" in pem:
        raise InvalidInput(f"{field} holds a private key: send the certificates only")
    _check_ascii(field, pem)
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise InvalidInput(
            f"{field} must be certificates in PEM, with their line breaks"
        ) from error


def _check_ascii(field: str, pem: str) -> None:
    """Python's TLS takes no other text, not even beside the certificates."""
    if not pem.isascii():
        raise InvalidInput(f"{field} must be ASCII: leave out remarks in other letters")
