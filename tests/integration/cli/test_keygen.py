"""`secrets keygen`: a key pair on disk."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sealedlog.secret_sealing import load_private_key, load_public_key, public_bytes

from tests.integration.cli.command import Command

ALONE = Command(environ={"XDG_CONFIG_HOME": "/nowhere"})


async def test_a_key_pair_needs_no_registry_and_belongs_together(tmp_path: Path) -> None:
    file = tmp_path / "backup.key"
    ended = await ALONE.done("secrets", "keygen", str(file), "-o", "json")
    assert ended.json == {"private_key_file": str(file), "public_key_file": f"{file}.pub"}
    private = load_private_key(file)
    assert isinstance(private, X25519PrivateKey)
    assert public_bytes(load_public_key(Path(f"{file}.pub"))) == public_bytes(private)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "backup.key"
    await ALONE.done("secrets", "keygen", str(file))
    before = file.read_bytes()
    ended = await ALONE("secrets", "keygen", str(file))
    assert ended.code == 74
    assert f"{file}: File exists" in ended.err
    assert file.read_bytes() == before
