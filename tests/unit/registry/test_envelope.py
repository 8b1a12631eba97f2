"""Envelope encryption: what opens, and what does not."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from kernel.errors import StateForbids
from registry.adapters.envelope import Envelope
from servicekit.settings import SettingsError

PLACE = {"secret_id": "s", "stream_id": "t", "field": "f"}


def _sealed(envelope: Envelope) -> tuple[bytes, bytes]:
    """(ciphertext, wrapped key) of b"hunter22" in PLACE."""
    wrapped = envelope.new_data_key(PLACE["stream_id"])
    sealed = envelope.seal(
        b"hunter22", wrapped_key=wrapped, master_key_id=envelope.master_key_id, **PLACE
    )
    return sealed, wrapped


def test_what_was_sealed_opens() -> None:
    envelope = Envelope(b"k" * 32)
    sealed, wrapped = _sealed(envelope)
    opened = envelope.open(
        sealed, wrapped_key=wrapped, master_key_id=envelope.master_key_id, **PLACE
    )
    assert opened == b"hunter22"
    assert b"hunter22" not in sealed
    assert _sealed(envelope)[0] != sealed, "nonce and key are fresh"


@pytest.mark.parametrize("part", ["secret_id", "stream_id", "field", "sealed", "key", "short"])
def test_nothing_else_opens(part: str) -> None:
    envelope = Envelope(b"k" * 32)
    sealed, wrapped = _sealed(envelope)
    place = dict(PLACE)
    if part in place:
        place[part] = "other"
    elif part == "sealed":
        sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    elif part == "short":
        sealed = sealed[:5]
    else:
        wrapped = envelope.new_data_key(PLACE["stream_id"])
    with pytest.raises(StateForbids) as caught:
        envelope.open(sealed, wrapped_key=wrapped, master_key_id=envelope.master_key_id, **place)
    assert "hunter22" not in str(caught.value)


def test_parts_of_a_place_cannot_be_shifted() -> None:
    envelope = Envelope(b"k" * 32)
    wrapped = envelope.new_data_key("t")
    sealed = envelope.seal(
        b"x", wrapped_key=wrapped, master_key_id=envelope.master_key_id,
        secret_id="ab", stream_id="t", field="cd",
    )  # fmt: skip
    with pytest.raises(StateForbids):
        envelope.open(
            sealed, wrapped_key=wrapped, master_key_id=envelope.master_key_id,
            secret_id="a", stream_id="t", field="bcd",
        )  # fmt: skip


def test_another_master_key_is_told_apart() -> None:
    sealed, wrapped = _sealed(Envelope(b"k" * 32))
    other = Envelope(b"o" * 32)
    with pytest.raises(StateForbids, match="which this registry does not have"):
        other.open(
            sealed,
            wrapped_key=wrapped,
            master_key_id=Envelope(b"k" * 32).master_key_id,
            **PLACE,
        )


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"k" * 31).decode(), "ä" * 44])
def test_a_file_that_holds_no_master_key_stops_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    with pytest.raises(SettingsError, match="32 bytes in base64"):
        Envelope.load(path)


def test_a_master_key_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_text(base64.b64encode(b"k" * 32).decode() + "\n")
    assert Envelope.load(path).master_key_id == Envelope(b"k" * 32).master_key_id
