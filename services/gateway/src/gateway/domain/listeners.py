"""Event listeners: where a queue is, and with which credentials (algorithmia-api 1.5.1 and 1.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from catalog.events import BrokerKind, SecretRef
from kernel.errors import InvalidInput

from gateway.domain import fields

STRING_CHARACTERS_MAX = 255
SOURCE_TYPES = {"AmazonSQS": BrokerKind.SQS, "AzureSB": BrokerKind.SERVICE_BUS}
SOURCE_TYPE_NAMES = {broker: name for name, broker in SOURCE_TYPES.items()}

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", re.ASCII)
_CONNECTION_STRING_PARTS = ("Endpoint", "SharedAccessKeyName", "SharedAccessKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The queue and its credentials, as a caller sends them; these show themselves nowhere."""

    source_type: str
    source_uri: str
    credentials: str = field(repr=False)


def broker_of(source: Source) -> BrokerKind:
    """Whose queue it is. Raises InvalidInput when the credentials are not of its kind."""
    fields.one_of(source.source_type, SOURCE_TYPES, field="sourceType")
    for name, value in (("sourceURI", source.source_uri), ("credentials", source.credentials)):
        if not 0 < len(value) <= STRING_CHARACTERS_MAX:
            raise InvalidInput(f"{name} must have 1 to {STRING_CHARACTERS_MAX} characters")
    broker = SOURCE_TYPES[source.source_type]
    if broker is BrokerKind.SQS and not _ROLE_ARN.fullmatch(source.credentials):
        raise InvalidInput(
            "credentials must be the ARN of the role that may read the queue: "
            "arn:aws:iam::ACCOUNT:role/NAME"
        )
    if broker is BrokerKind.SERVICE_BUS and not _is_connection_string(source.credentials):
        raise InvalidInput(
            "credentials must be a connection string: Endpoint=sb://NAMESPACE.servicebus.windows"
            ".net/;SharedAccessKeyName=NAME;SharedAccessKey=KEY"
        )
    return broker


def shown_credentials(*, role_arn: str, credentials: SecretRef | None) -> str:
    """What may be shown: a role ARN as it is, a secret only by its fingerprint."""
    return role_arn if credentials is None else f"sha256:{credentials.fingerprint.hex()}"


def shared_access_key(connection_string: str) -> str:
    """The secret part of a connection string; empty when there is none."""
    return _parts(connection_string).get("SharedAccessKey", "")


def _parts(connection_string: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in connection_string.split(";") if part.strip())


def _is_connection_string(value: str) -> bool:
    parts = _parts(value)
    complete = all(parts.get(name) for name in _CONNECTION_STRING_PARTS)
    return complete and parts["Endpoint"].startswith("sb://")
