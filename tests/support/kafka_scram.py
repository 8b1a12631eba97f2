"""Giving a SCRAM user of a broker a new password: aiokafka knows no such request.

The password itself is not sent: the broker keeps a salted hash, and we make that.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, ClassVar

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from devstack import Kafka

from tests.support.kafka_clients import admin

SCRAM_SHA_512 = 2
ITERATIONS = 4096
SALT_BYTES = 16


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY: ClassVar[int] = 51
    API_VERSION: ClassVar[int] = 0
    SCHEMA: ClassVar[Schema] = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Change(RequestStruct):  # type: ignore[misc]
    """AlterUserScramCredentials of Kafka's protocol."""

    API_KEY: ClassVar[int] = 51
    API_VERSION: ClassVar[int] = 0
    FLEXIBLE_VERSION: ClassVar[bool] = True
    RESPONSE_TYPE: ClassVar[type[Response]] = _Answer
    SCHEMA: ClassVar[Schema] = Schema(
        (
            "deletions",
            CompactArray(
                ("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)
            ),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ChangeRequest(Request[_Change]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, username: str, salt: bytes, salted: bytes) -> None:
        self._row: tuple[Any, ...] = (username, SCRAM_SHA_512, ITERATIONS, salt, salted, {})

    def build(self, request_struct_class: type[_Change]) -> _Change:
        return request_struct_class([], [self._row], {})


async def set_password(kafka: Kafka, *, username: str, password: str) -> None:
    """From now on the user, new or known, enters with this password only (SCRAM-SHA-512).

    Connections that stand are left alone, as Kafka does.
    """
    salt = secrets.token_bytes(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    async with admin(kafka) as connected:
        client = connected._client
        # Any broker passes it on to the controller.
        answer = await client.send(client.get_random_node(), _ChangeRequest(username, salt, salted))
    assert [code for _, code, *_ in answer.results] == [0], answer
