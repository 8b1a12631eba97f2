"""Certificates that customers give us, checked where they enter."""

from __future__ import annotations

from cryptography import x509
from kernel.errors import InvalidInput, TooLarge

from registry.domain.connection import CA_CERTIFICATE_LENGTH_MAX


def ca_certificates(pem: str) -> str:
    """The text itself, if it holds one or more certificates in PEM and nothing secret.

    Raises InvalidInput, TooLarge. The sentence never repeats the text.
    """
    if len(pem) > CA_CERTIFICATE_LENGTH_MAX:
        raise TooLarge(f"ca_certificate must have at most {CA_CERTIFICATE_LENGTH_MAX} characters")
    if "PRIVATE KEY" in pem:
        raise InvalidInput("ca_certificate holds a private key: send the certificates only")
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise InvalidInput(
            "ca_certificate must be certificates in PEM, with their line breaks"
        ) from error
    return pem
