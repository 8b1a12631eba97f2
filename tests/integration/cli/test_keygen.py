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
    assert ended.code == 1
    assert f"{file} exists" in ended.err
    assert file.read_bytes() == before


async def test_half_a_pair_is_never_made(tmp_path: Path) -> None:
    public = tmp_path / "backup.key.pub"
    public.write_text("somebody's")
    ended = await ALONE("secrets", "keygen", str(tmp_path / "backup.key"))
    assert ended.code == 1
    assert f"{public} exists" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["backup.key.pub"]


async def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    missing = await ALONE("secrets", "keygen", str(tmp_path / "none" / "backup.key"))
    assert missing.code == 1
    assert "none does not exist: make it" in missing.err
    for folder in (str(tmp_path), ".", "/"):
        ended = await ALONE("secrets", "keygen", folder)
        assert ended.code == 2
        assert "is a folder: name a file in it" in ended.err
