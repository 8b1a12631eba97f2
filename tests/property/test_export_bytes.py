"""No byte of an export file can be changed unseen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import InvalidInput
from sealedlog.export_file import verify
from sealedlog.export_records import framed
from sealedlog.secret_sealing import new_private_key, sealed_secret

from tests.support.sealed_logs import batches_of, records_of

SECRET = sealed_secret(
    b"secret",
    new_private_key().public_key(),
    secret_id="6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e11",
    stream_id="6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e12",
    field="credentials",
)
CONTENT = b"".join(
    framed(record)
    for record in records_of(batches_of(3, 1, 5, 2), recipient="ops", secrets=[SECRET])
)


def test_the_file_is_right_as_it_is() -> None:
    assert verify(io.BytesIO(CONTENT)).events == 11


@given(at=st.integers(0, len(CONTENT) - 1), flip=st.integers(1, 255))
def test_any_byte_that_is_flipped_is_found(at: int, flip: int) -> None:
    content = bytearray(CONTENT)
    content[at] ^= flip
    with pytest.raises(InvalidInput):
        verify(io.BytesIO(bytes(content)))


@given(at=st.integers(0, len(CONTENT) - 1))
def test_any_byte_that_is_gone_is_found(at: int) -> None:
    with pytest.raises(InvalidInput):
        verify(io.BytesIO(CONTENT[:at] + CONTENT[at + 1 :]))


@given(at=st.integers(0, len(CONTENT)), added=st.binary(min_size=1, max_size=8))
def test_any_byte_that_is_added_is_found(at: int, added: bytes) -> None:
    with pytest.raises(InvalidInput):
        verify(io.BytesIO(CONTENT[:at] + added + CONTENT[at:]))
