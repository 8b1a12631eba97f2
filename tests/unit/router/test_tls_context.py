"""A client's key is loaded without anybody else being able to read it, then or later."""

import os
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from devstack.authority import write_authority
from kernel.errors import InvalidInput
from router.adapters.kafka_clients import tls_context
from router.domain.kafka_connection import KafkaConnection

END_OF_KEY = "-----END PRIVATE KEY-----\n"


@pytest.fixture
def connection(tmp_path: Path) -> KafkaConnection:
    write_authority(*(tmp_path / name for name in ("ca.pem", "broker.pem", "client.pem")))
    key, _, certificate = (tmp_path / "client.pem").read_text().partition(END_OF_KEY)
    return KafkaConnection(
        connection_id="c",
        bootstrap_servers=("b:1",),
        ca_certificate=(tmp_path / "ca.pem").read_text(),
        client_certificate=certificate,
        client_key=key + END_OF_KEY,
    )


def changed(connection: KafkaConnection, **changes: str) -> KafkaConnection:
    fields = {name: getattr(connection, name) for name in KafkaConnection.__slots__}
    return KafkaConnection(**(fields | changes))


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_key_leaves_no_file(
    connection: KafkaConnection,
    in_memory: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before = os.listdir("/dev/fd")
    context = tls_context(connection)
    assert context.get_ca_certs()
    assert list(empty.iterdir()) == []
    assert os.listdir("/dev/fd") == before


def test_clients_of_a_connection_share_its_context(connection: KafkaConnection) -> None:
    context = tls_context(connection)
    assert tls_context(changed(connection, connection_id="other")) is context
    assert tls_context(changed(connection, client_certificate="", client_key="")) is not context


def test_a_certificate_without_its_key_is_refused(connection: KafkaConnection) -> None:
    with pytest.raises(InvalidInput, match="together"):
        tls_context(changed(connection, client_key=""))


def test_text_that_is_no_key_is_refused(connection: KafkaConnection) -> None:
    with pytest.raises(InvalidInput, match="belong together"):
        tls_context(changed(connection, client_key="hello"))


def test_an_encrypted_key_is_refused_and_nobody_is_asked(connection: KafkaConnection) -> None:
    key = load_pem_private_key(connection.client_key.encode(), None)
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(InvalidInput, match="encrypted"):
        tls_context(changed(connection, client_key=encrypted.decode()))
