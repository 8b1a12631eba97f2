"""What a certificate says of itself, for people who ask whether it is the right one and good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """Of the first certificate of a chain: whose it is (RFC 4514) and until when it is good."""

    subject: str
    expires_at: datetime


def facts_of(pem: str) -> CertificateFacts | None:
    """None for an empty text, and for one that this process cannot read."""
    if not pem:
        return None
    try:
        first = x509.load_pem_x509_certificate(pem.encode())
        return CertificateFacts(
            subject=first.subject.rfc4514_string(), expires_at=first.not_valid_after_utc
        )
    except ValueError:
        return None
