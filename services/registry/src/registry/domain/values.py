"""What a single value must look like. Every function returns the value or raises InvalidInput.

The sentences never repeat the value itself: a caller may have put a secret into the wrong field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from urllib.parse import urlsplit
from uuid import UUID

from kernel.errors import InvalidInput, TooLarge

USERNAME_LENGTH_MAX = 30
EMAIL_LENGTH_MAX = 254
ALGORITHM_NAME_LENGTH_MAX = 100
CONNECTION_NAME_LENGTH_MAX = 100
LINE_LENGTH_MAX = 255
TEXT_LENGTH_MAX = 16 * 1024
TOPIC_LENGTH_MAX = 249
GROUP_PREFIX_LENGTH_MAX = 100
URL_LENGTH_MAX = 2048
HOST_LENGTH_MAX = 255
BOOTSTRAP_SERVERS_MAX = 20
RUN_TIMEOUT_MAX_S = 3000
CONCURRENCY_MAX = 1000
ERROR_TYPE_LENGTH_MAX = 200
INT32_MAX = 2**31 - 1

_USERNAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]+")
_HOST = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\]")
_SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_COMMIT_SHA = re.compile(r"[0-9a-f]{40}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SSH_SHORT_FORM = re.compile(r"[a-zA-Z0-9_.-]+@[a-zA-Z0-9.-]+:[a-zA-Z0-9_./~-]+")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[a-zA-Z0-9+=,.@_/-]{1,512}", re.ASCII)
_SERVICE_BUS_QUEUE = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._/-]{0,258}[a-zA-Z0-9])?")


def uuid(field: str, value: str) -> str:
    """A uuid in its usual form: lower case, with hyphens, not nil."""
    try:
        parsed = UUID(value)
    except ValueError as error:
        raise InvalidInput(f"{field} must be a uuid") from error
    if str(parsed) != value or parsed.int == 0:
        raise InvalidInput(f"{field} must be a uuid in lower case with hyphens, and not all zeros")
    return value


def username(value: str) -> str:
    """A user's or organization's name: the rule of Algorithmia's API."""
    if len(value) > USERNAME_LENGTH_MAX or not _USERNAME.fullmatch(value):
        raise InvalidInput(
            f"username must start with a letter, hold letters, digits and _ only, "
            f"and have at most {USERNAME_LENGTH_MAX} characters"
        )
    return value


def email(value: str) -> str:
    """The shape of an address; whether it exists is nobody's business here."""
    if len(value) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(value):
        raise InvalidInput(f"email must look like name@host, at most {EMAIL_LENGTH_MAX} characters")
    return value


def line(
    field: str, value: str, *, length_max: int = LINE_LENGTH_MAX, required: bool = False
) -> str:
    """One line of text for people."""
    if required and not value.strip():
        raise InvalidInput(f"{field} must not be empty")
    if "\n" in value or "\r" in value:
        raise InvalidInput(f"{field} must be a single line")
    return text(field, value, length_max=length_max)


def text(field: str, value: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Text of many lines without control characters."""
    if len(value) > length_max:
        raise TooLarge(f"{field} must have at most {length_max} characters")
    if _CONTROL.search(value):
        raise InvalidInput(f"{field} must not hold control characters")
    return value


def algorithm_name(value: str) -> str:
    """Letters, digits, underscore; a letter first."""
    if len(value) > ALGORITHM_NAME_LENGTH_MAX or not _USERNAME.fullmatch(value):
        raise InvalidInput(
            f"name of an algorithm must start with a letter, hold letters, digits and _ only, "
            f"and have at most {ALGORITHM_NAME_LENGTH_MAX} characters"
        )
    return value


def topic(field: str, value: str) -> str:
    """A topic name that Kafka takes."""
    if len(value) > TOPIC_LENGTH_MAX or not _TOPIC.fullmatch(value) or value in {".", ".."}:
        raise InvalidInput(
            f"{field} must be a Kafka topic name: letters, digits, '.', '_' and '-', "
            f"at most {TOPIC_LENGTH_MAX} characters"
        )
    return value


def group_prefix(value: str) -> str:
    """What names of consumer groups begin with; empty is allowed."""
    if value and (len(value) > GROUP_PREFIX_LENGTH_MAX or not _TOPIC.fullmatch(value)):
        raise InvalidInput(
            "group_prefix must hold letters, digits, '.', '_' and '-' only, "
            f"at most {GROUP_PREFIX_LENGTH_MAX} characters"
        )
    return value


def bootstrap_servers(servers: Sequence[str]) -> tuple[str, ...]:
    """At least one `host:port`, none twice."""
    if not 0 < len(servers) <= BOOTSTRAP_SERVERS_MAX:
        raise InvalidInput(f"bootstrap_servers must name 1 to {BOOTSTRAP_SERVERS_MAX} servers")
    for server in servers:
        host, _, port = server.rpartition(":")
        known_host = len(host) <= HOST_LENGTH_MAX and _HOST.fullmatch(host)
        known_port = port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535
        if not (known_host and known_port):
            raise InvalidInput(
                "bootstrap_servers must be of the form host:port, such as kafka1:9093"
            )
    if len(set(servers)) != len(servers):
        raise InvalidInput("bootstrap_servers must not name a server twice")
    return tuple(servers)


def semantic_version(field: str, value: str) -> str:
    """`major.minor.patch`, each without leading zeros."""
    if len(value) > LINE_LENGTH_MAX or not _SEMANTIC_VERSION.fullmatch(value):
        raise InvalidInput(f"{field} must be a version such as 1.0.2")
    return value


def commit_sha(value: str) -> str:
    """A full git commit hash."""
    if not _COMMIT_SHA.fullmatch(value):
        raise InvalidInput("commit_sha must be 40 hexadecimal digits in lower case")
    return value


def git_url(value: str) -> str:
    """`https://`, `ssh://`, `file:///` or the short form `git@host:path`; never with a password."""
    if len(value) <= URL_LENGTH_MAX and _SSH_SHORT_FORM.fullmatch(value):
        return value
    return _url("source_url", value, schemes=("https", "ssh", "file"))


def endpoint_url(value: str) -> str:
    """`http://` or `https://`; never with a password."""
    return _url("source_url", value, schemes=("http", "https"))


def sqs_queue_url(value: str) -> str:
    """The address of an SQS queue (plain http too: a test server or a private endpoint)."""
    if len(value) > LINE_LENGTH_MAX:
        raise InvalidInput(f"source_uri must have at most {LINE_LENGTH_MAX} characters")
    return _url("source_uri", value, schemes=("https", "http"))


def role_arn(value: str) -> str:
    """The ARN of an IAM role."""
    if len(value) > LINE_LENGTH_MAX or not _ROLE_ARN.fullmatch(value):
        raise InvalidInput(
            "role_arn must be the ARN of a role, such as arn:aws:iam::111122223333:role/reader, "
            f"at most {LINE_LENGTH_MAX} characters"
        )
    return value


def service_bus_queue(value: str) -> str:
    """The bare name of a Service Bus queue."""
    if not _SERVICE_BUS_QUEUE.fullmatch(value):
        raise InvalidInput(
            "source_uri must be the name of a Service Bus queue: "
            "letters, digits, '.', '_', '-' and '/', at most 260 characters"
        )
    return value


def between(field: str, value: int, *, low: int, high: int) -> int:
    """A number within its limits."""
    if not low <= value <= high:
        raise InvalidInput(f"{field} must be between {low} and {high}")
    return value


def chosen(field: str, value: IntEnum) -> None:
    """An enumeration that says something; the record's constructor has checked that it is known."""
    if value == 0:
        raise InvalidInput(f"{field} must be given")


def _url(field: str, value: str, *, schemes: Sequence[str]) -> str:
    allowed = ", ".join(f"{scheme}://" for scheme in schemes)
    if len(value) > URL_LENGTH_MAX:
        raise InvalidInput(f"{field} must have at most {URL_LENGTH_MAX} characters")
    if not value.isascii() or any(char.isspace() for char in value) or _CONTROL.search(value):
        raise InvalidInput(f"{field} must not hold blanks or characters outside ASCII")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput(f"{field} must be a URL that starts with {allowed}") from error
    if parts.scheme not in schemes:
        raise InvalidInput(f"{field} must be a URL that starts with {allowed}")
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        raise InvalidInput(f"{field} must not hold a user or password: it is kept in clear")
    if parts.fragment:
        raise InvalidInput(f"{field} must not have a fragment (#)")
    if (not parts.hostname) if parts.scheme != "file" else not parts.path.startswith("/"):
        raise InvalidInput(f"{field} must name a host, or with file:// an absolute path")
    return value
