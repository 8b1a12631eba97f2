"""From protobuf to commands, and what makes two requests the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from catalog.events import AccountKind, SecurityProtocol
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from kernel.errors import InvalidInput, TooLarge
from registry.adapters.envelope import Envelope
from registry.adapters.memory_vault import MemoryVault
from registry.application.certificates import certificates
from registry.domain.account import CreateAccount
from registry.domain.algorithm import FinishBuild, VersionBump
from registry.domain.connection import CreateConnection
from registry.entrypoints.request_hash import request_hash
from registry.entrypoints.requests import Wanted, wanted
from servicekit.logs import redact

from tests.support.event_log import id_of
from tests.support.registry import account_request, connection_request, context

VAULT = MemoryVault(Envelope(b"k" * 32))


def _wanted(request: Any) -> Wanted:
    return wanted(request, fingerprint=lambda _stream_id, _secret: b"12345678")


def _hash(request: Any) -> bytes:
    return request_hash(request, keyed=VAULT.request_digest)


def test_every_command_of_the_service_has_a_mapping() -> None:
    service = pb.DESCRIPTOR.services_by_name["Registry"]
    commands = [one for one in service.methods if one.output_type.name == "CommandResult"]
    # What these two make of a request depends on what the log says of its stream.
    commands = [one for one in commands if one.name not in {"Revert", "ShredSecrets"}]
    assert len(commands) == 20
    for method in commands:
        request = getattr(pb, method.input_type.name)()
        with pytest.raises(InvalidInput):
            _wanted(request)  # empty, so it is refused, but by its own mapping


def test_fields_are_copied_by_name() -> None:
    request = account_request("acme", fullname="Acme Ltd", company_role="owner")
    command = _wanted(request).command
    assert command == CreateAccount(
        account_id=request.account_id,
        kind=AccountKind.USER,
        username="acme",
        email="acme@example.test",
        fullname="Acme Ltd",
        company_role="owner",
    )


def test_times_and_enumerations_become_ours() -> None:
    request = pb.FinishBuildRequest(
        algorithm_id=id_of("a"), started_at=Timestamp(seconds=1), finished_at=Timestamp(seconds=2)
    )
    command = _wanted(request).command
    assert isinstance(command, FinishBuild)
    assert (command.finished_at - command.started_at).total_seconds() == 1.0
    publish = pb.PublishVersionRequest(algorithm_id=id_of("a"), bump=pb.VERSION_BUMP_PATCH)
    assert _wanted(publish).command.bump is VersionBump.PATCH


@pytest.mark.parametrize(
    "request_",
    [
        pb.FinishBuildRequest(algorithm_id=id_of("a"), started_at=Timestamp(seconds=1)),
        pb.PublishVersionRequest(algorithm_id=id_of("a"), bump=9),  # type: ignore[arg-type]
        account_request("a", kind=7),
        connection_request(credentials=pb.Credential(username="u")),
        connection_request(credentials=pb.Credential(connection_string="Endpoint=sb://x")),
        connection_request(credentials=pb.Credential(username="u\n", password="p")),
        pb.CreateListenerRequest(
            flow_id=id_of("f"), credentials=pb.Credential(username="u", password="p")
        ),
        pb.CreateListenerRequest(
            flow_id=id_of("f"), credentials=pb.Credential(connection_string="what")
        ),
    ],
)
def test_a_wrong_request_is_refused(request_: Any) -> None:
    with pytest.raises(InvalidInput):
        _wanted(request_)


def test_credentials_become_a_secret_and_a_reference() -> None:
    request = connection_request()
    asked = _wanted(request)
    assert isinstance(asked.command, CreateConnection)
    assert asked.secret is not None
    assert asked.command.credentials is not None
    assert asked.command.credentials.secret_id == asked.secret.secret_id
    assert asked.command.security_protocol is SecurityProtocol.SASL_SSL
    assert pb.Credential.FromString(asked.secret.plain) == request.credentials
    assert "correct horse" not in repr(asked)
    again = _wanted(request)
    assert again.secret is not None
    assert again.secret.secret_id != asked.secret.secret_id, "ids are drawn, not derived"


def test_credentials_that_came_in_are_hidden_in_logs() -> None:
    password = f"a password {uuid4()}"
    _wanted(connection_request(credentials=pb.Credential(username="u", password=password)))
    assert password not in redact(f"the password is {password}")


def test_a_repeat_with_another_trace_is_the_same_request() -> None:
    request = connection_request()
    again = pb.CreateConnectionRequest()
    again.CopyFrom(request)
    again.context.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    again.context.correlation_id = "another"
    assert _hash(again) == _hash(request)


def test_a_repeat_with_a_fresh_key_is_the_same_request() -> None:
    request = pb.CreateApiKeyRequest(
        context=context(), account_id=id_of("a"), key_sha256=sha256(b"1").digest(), mask="sim1"
    )
    again = pb.CreateApiKeyRequest()
    again.CopyFrom(request)
    again.key_sha256, again.mask = sha256(b"2").digest(), "sim2"
    assert _hash(again) == _hash(request)
    again.label = "other"
    assert _hash(again) != _hash(request)


def test_the_same_request_with_another_key_of_the_same_account_is_the_same() -> None:
    request = connection_request()
    again = pb.CreateConnectionRequest()
    again.CopyFrom(request)
    again.context.key_id = id_of("another key")
    assert _hash(again) == _hash(request)


@pytest.mark.parametrize("change", ["name", "password", "actor", "expected_version", "kind"])
def test_any_other_difference_is_another_request(change: str) -> None:
    request = connection_request()
    other: Any = pb.CreateConnectionRequest()
    other.CopyFrom(request)
    if change == "name":
        other.name += "!"
    elif change == "password":
        other.credentials.password += "!"
    elif change == "actor":
        other.context.actor = "service:gateway"
    elif change == "expected_version":
        other.context.expected_version = 0
    else:
        other = pb.DeleteConnectionRequest(
            context=request.context, connection_id=request.connection_id
        )
        request = pb.CreateConnectionRequest(
            context=request.context, connection_id=request.connection_id
        )
    assert _hash(other) != _hash(request)


def test_the_hash_of_a_credential_depends_on_the_key() -> None:
    request = connection_request()
    others = MemoryVault(Envelope(b"o" * 32))
    assert request_hash(request, keyed=others.request_digest) != _hash(request)
    assert request.credentials.password == "correct horse battery", "the request is untouched"


def test_only_certificates_pass_for_certificates() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for wrong in (key.decode(), "", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"):
        with pytest.raises(InvalidInput) as caught:
            certificates("ca_certificate", wrong)
        assert wrong == "" or wrong not in str(caught.value)
    with pytest.raises(TooLarge):
        certificates("ca_certificate", "x" * 70_000)


def test_certificates_pass_as_they_are() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=1),
    ).sign(key, SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    assert certificates("ca_certificate", pem) == pem
    request = connection_request(ca_certificate=pem + pem)
    assert _wanted(request).command.ca_certificate == pem + pem
