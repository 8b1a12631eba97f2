"""From protobuf to commands, and what makes two requests the same."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from catalog.events import (
    AccountKind,
    ApiType,
    DeadLetterSelection,
    DeliveryOrder,
    DeliverySettings,
    FlowKind,
    RetryRule,
    SecurityProtocol,
)
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from kernel.errors import InvalidInput, TooLarge
from registry.adapters.envelope import Envelope
from registry.adapters.memory_vault import MemoryVault
from registry.application.certificates import certificates, client_key
from registry.domain.account import CreateAccount
from registry.domain.algorithm import FinishBuild, VersionBump
from registry.domain.connection import CreateConnection
from registry.entrypoints.request_hash import request_hash
from registry.entrypoints.requests import Wanted, wanted
from servicekit.logs import redact

from tests.support.certificates import certified
from tests.support.event_log import EventLog, id_of
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
    key = certified("test authority").key
    for wrong in (key, "", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"):
        with pytest.raises(InvalidInput) as caught:
            certificates("ca_certificate", wrong)
        assert wrong == "" or wrong not in str(caught.value)
    with pytest.raises(TooLarge):
        certificates("ca_certificate", "x" * 70_000)


def test_remarks_beside_certificates_are_ascii_as_python_wants_them() -> None:
    with pytest.raises(InvalidInput, match="ca_certificate must be ASCII"):
        certificates("ca_certificate", "# Zoë\n" + ONE.certificate)


def test_certificates_pass_as_they_are() -> None:
    pem = certified("test authority").certificate
    assert certificates("ca_certificate", pem) == pem
    request = connection_request(ca_certificate=pem + pem)
    assert _wanted(request).command.ca_certificate == pem + pem


# ---- client certificates -------------------------------------------------------------------------

SSL = events_pb2.SECURITY_PROTOCOL_SSL
SASL_PLAINTEXT = events_pb2.SECURITY_PROTOCOL_SASL_PLAINTEXT
LOGIN = {"username": "u", "password": "a long password"}


def _by_ssl(**fields: Any) -> pb.CreateConnectionRequest:
    given = {"security_protocol": SSL, "sasl_mechanism": "", "credentials": None, **fields}
    return connection_request(**given)


def test_the_key_of_a_client_certificate_goes_to_the_vault_and_not_into_the_command() -> None:
    client = certified("client")
    asked = _wanted(
        _by_ssl(
            client_certificate=client.certificate,
            credentials=pb.Credential(client_key=client.key),
            group_prefix="acme.",
        )
    )
    assert asked.command.client_certificate == client.certificate
    assert asked.command.group_prefix == "acme."
    assert asked.secret is not None
    assert pb.Credential.FromString(asked.secret.plain).client_key == client.key
    assert client.key not in repr(asked)
    assert client.key not in redact(f"the key is {client.key}")


def test_a_connection_by_ssl_needs_no_certificate_of_ours() -> None:
    asked = _wanted(_by_ssl())
    assert (asked.secret, asked.command.credentials) == (None, None)


def test_a_client_certificate_may_go_with_a_login() -> None:
    client = certified("client")
    credentials = pb.Credential(client_key=client.key, **LOGIN)
    asked = _wanted(
        connection_request(client_certificate=client.certificate, credentials=credentials)
    )
    assert asked.secret is not None
    assert pb.Credential.FromString(asked.secret.plain) == credentials


def test_an_update_without_credentials_asks_for_none() -> None:
    client = certified("client")
    asked = _wanted(
        pb.UpdateConnectionRequest(
            connection_id=id_of("c"), security_protocol=SSL, client_certificate=client.certificate
        )
    )
    assert (asked.secret, asked.command.credentials) == (None, None)


ONE, OTHER = certified("one"), certified("other")


@pytest.mark.parametrize(
    ("fields", "credentials", "sentence"),
    [
        ({"client_certificate": ONE.certificate}, {}, "give both or neither"),
        ({}, {"client_key": ONE.key}, "give both or neither"),
        ({}, LOGIN, "an SSL connection has no username and password"),
        ({"security_protocol": SASL_PLAINTEXT}, {}, "a SASL_PLAINTEXT connection needs credential"),
        (
            {"client_certificate": ONE.certificate},
            {"client_key": OTHER.key},
            "client_key is not the key of client_certificate",
        ),
        (
            {"client_certificate": OTHER.certificate + ONE.certificate},
            {"client_key": ONE.key},
            "own certificate must be the first one",
        ),
        ({"client_certificate": ONE.certificate}, {"client_key": "nonsense"}, "private key in PEM"),
        (
            {"client_certificate": ONE.certificate},
            {"client_key": certified("locked", passphrase="open sesame").key},
            "locked by a pass phrase",
        ),
        (
            {"client_certificate": ONE.certificate + ONE.key},
            {"client_key": ONE.key},
            "client_certificate holds a private key",
        ),
        ({"client_certificate": "x"}, {"client_key": ONE.key}, "must be certificates in PEM"),
        (
            {"client_certificate": "# Zoë\n" + ONE.certificate},
            {"client_key": ONE.key},
            "client_certificate must be ASCII",
        ),
        (
            {"client_certificate": ONE.certificate},
            {"client_key": "# Zoë\n" + ONE.key},
            "client_key must be ASCII",
        ),
    ],
)
def test_credentials_are_those_that_the_connection_needs(
    fields: dict[str, Any], credentials: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence) as caught:
        _wanted(_by_ssl(**fields, credentials=pb.Credential(**credentials)))
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge, match="client_key must have at most"):
        client_key("x" * 20_000, certificate_pem=ONE.certificate)


def test_a_listener_has_no_client_key() -> None:
    request = pb.CreateListenerRequest(
        flow_id=id_of("f"), credentials=pb.Credential(client_key=ONE.key)
    )
    with pytest.raises(InvalidInput, match="connection_string only"):
        _wanted(request)


# ---- messages inside -----------------------------------------------------------------------------


def test_settings_of_delivery_are_read_whole_and_absent_ones_stay_absent() -> None:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    flow_id = log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    request = pb.EnableFlowRequest(flow_id=flow_id)
    assert _wanted(request).command(log.catalog()).delivery is None
    request.delivery.order = events_pb2.DELIVERY_ORDER_NONE
    request.delivery.retries.add(attempts_max=3, factor=1.5)
    assert _wanted(request).command(log.catalog()).delivery == DeliverySettings(
        order=DeliveryOrder.NONE, retries=(RetryRule(attempts_max=3, factor=1.5),)
    )


def test_a_selection_that_is_absent_is_everything() -> None:
    asked = _wanted(pb.RequestPurgeRequest(dead_letter_task_id=id_of("t"), flow_id=id_of("f")))
    assert asked.stream_id == id_of("t")
    log = EventLog()
    log.create_flow(id_of("f"), kind=FlowKind.CHAIN, owner_id="o", algorithm_id="a")
    assert asked.command(log.catalog()).selection == DeadLetterSelection()


def test_a_number_that_this_build_does_not_know_is_refused() -> None:
    request = pb.EnableFlowRequest(flow_id=id_of("f"))
    request.delivery.order = 9  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match="delivery has a value that this registry does not know"):
        _wanted(request)
