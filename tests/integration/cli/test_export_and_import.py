"""`log export` and `log import`: a log leaves one registry and is the same in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devstack import Postgres
from eventflows.registry.v1 import registry_pb2 as pb

from tests.integration.cli.command import Command
from tests.integration.cli.conftest import PASSWORD, Told, command_for
from tests.support.registry import Served, fresh_database, served


@asynccontextmanager
async def empty(postgres: Postgres, folder: Path) -> AsyncIterator[tuple[Command, Served]]:
    """Another registry, with nothing in it."""
    async with served(await fresh_database(postgres), folder / "other") as registry:
        yield command_for(registry, folder), registry


async def state(command: Command) -> dict[str, Any]:
    """All that two registries must agree on: the catalog and the chain."""
    kinds = ("account", "algorithm", "connection", "topic-access", "flow")
    listed = [command.done("log", "at", "now", kind, "-o", "json") for kind in kinds]
    found: dict[str, Any] = dict(
        zip(kinds, [ended.json for ended in await asyncio.gather(*listed)], strict=True)
    )
    found["verdict"] = (await command.done("log", "verify", "-o", "json")).json
    return found


async def test_an_imported_log_is_an_equal_catalog_and_an_equal_chain(
    told: Told, postgres: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "log.export"
    exported = (await told.command.done("log", "export", str(file), "-o", "json")).json
    assert exported["events"] == exported["head"]["position"] == told.story.positions
    assert (exported["secrets"], exported["recipient"]) == (0, "")
    async with empty(postgres, tmp_path) as (command, _):
        ended = await command.done("log", "import", str(file), "--yes", "-o", "json")
        assert ended.json["imported_events"] == told.story.positions
        assert ended.json["streams_without_credentials"] == 1
        assert ended.json["registry_head"]["hash"] == exported["head"]["hash"]
        assert await state(command) == await state(told.command)
        head = f"{exported['head']['position']}:{exported['head']['hash']}"
        await command.done("log", "verify", "--expect", head)


async def test_secrets_travel_for_one_recipient_only(
    told: Told, postgres: Postgres, tmp_path: Path
) -> None:
    file, key, other = tmp_path / "log.export", tmp_path / "backup.key", tmp_path / "other.key"
    for each in (key, other):
        await told.command.done("secrets", "keygen", str(each))
    with_vault = ("--with-vault", "--recipient", "backup", "--recipient-key", f"{key}.pub")
    exported = await told.command.done("log", "export", str(file), *with_vault, "-o", "json")
    assert (exported.json["secrets"], exported.json["recipient"]) == (1, "backup")
    assert PASSWORD.encode() not in file.read_bytes()
    async with empty(postgres, tmp_path) as (command, registry):
        wrong = await command("log", "import", str(file), "--identity", str(other), "--yes")
        assert wrong.code == 2
        assert "sealed for another key" in wrong.err
        assert (await command.done("log", "verify", "-o", "json")).json["events"] == 0
        ended = await command.done(
            "log", "import", str(file), "--identity", str(key), "--yes", "-o", "json"
        )
        assert ended.json["streams_without_credentials"] == 0
        assert PASSWORD not in ended.out + ended.err
        connection = (await command.done("log", "at", "now", "connection", "-o", "jsonl")).lines[0]
        async with registry.client("router") as router:
            credential = await router.ReadCredential(
                pb.ReadCredentialRequest(
                    stream_id=connection["id"],
                    secret_id=connection["state"]["credentials"]["secret_id"],
                )
            )
        assert credential.password == PASSWORD


async def test_an_import_goes_on_where_an_earlier_export_ended(
    told_anew: Told, postgres: Postgres, tmp_path: Path
) -> None:
    told = told_anew
    first, rest = tmp_path / "first.export", tmp_path / "rest.export"
    head = (await told.command.done("log", "export", str(first), "-o", "json")).json["head"]
    await told.command.done("secrets", "shred", told.story.connection_id, "--yes")
    await told.command.done("log", "export", str(rest), "--after", str(head["position"]))
    async with empty(postgres, tmp_path) as (command, _):
        early = await command("log", "import", str(rest), "--yes")
        assert early.code in (1, 2)
        assert early.err.count("\n") == 1
        await command.done("log", "import", str(first), "--yes")
        await command.done("log", "import", str(rest), "--yes")
        assert await state(command) == await state(told.command)


async def test_a_file_is_verified_without_any_registry(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "log.export"
    exported = (await told.command.done("log", "export", str(file), "-o", "json")).json
    alone = Command(environ={"XDG_CONFIG_HOME": "/nowhere"})
    verdict = (await alone.done("log", "verify", "--file", str(file), "-o", "json")).json
    assert verdict == {
        "of": "file", "intact": True, "events": exported["events"], "seals": exported["batches"],
        "head": exported["head"], "problem": "",
    }  # fmt: skip
    kept = f"{exported['head']['position']}:{exported['head']['hash']}"
    await alone.done("log", "verify", "--file", str(file), "--expect", kept)
    other = f"{exported['head']['position']}:{'ab' * 32}"
    assert (await alone("log", "verify", "--file", str(file), "--expect", other)).code == 1


async def test_an_altered_or_shortened_file_is_found_and_never_imported(
    told: Told, postgres: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "log.export"
    await told.command.done("log", "export", str(file))
    sound = file.read_bytes()
    middle = len(sound) // 2
    flipped = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
    async with empty(postgres, tmp_path) as (command, _):
        for broken in (flipped, sound[:-10], sound[:middle], b"", b"no export at all"):
            file.write_bytes(broken)
            found = await command("log", "verify", "--file", str(file))
            assert (found.code, "BROKEN" in found.out) == (1, True)
            refused = await command("log", "import", str(file), "--yes")
            assert refused.code == 1
            assert "nothing was sent" in refused.err
        assert (await command.done("log", "verify", "-o", "json")).json["events"] == 0


async def test_an_export_never_overwrites_and_leaves_nothing_half_done(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "log.export"
    await told.command.done("log", "export", str(file))
    before = file.read_bytes()
    again = await told.command("log", "export", str(file))
    assert again.code == 1
    assert "exists" in again.err
    assert file.read_bytes() == before
    await told.command.done("log", "export", str(file), "--replace")
    nowhere = await told.command("log", "export", str(tmp_path / "no" / "such" / "folder"))
    assert nowhere.code == 1
    for folder in (".", "/", str(tmp_path)):
        ended = await told.command("log", "export", folder, "--replace")
        assert ended.code == 2
        assert "is a folder: name a file in it" in ended.err
    middle = await told.command("log", "export", str(tmp_path / "x"), "--after", "100000")
    assert middle.code in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["log.export"]


async def test_import_needs_a_yes_and_a_file(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "log.export"
    missing = await told.command("log", "import", str(file), "--yes")
    assert missing.code == 1
    await told.command.done("log", "export", str(file))
    unasked = await told.command("log", "import", str(file))
    assert unasked.code == 2
    assert "--yes" in unasked.err
    needless = await told.command("secrets", "keygen", str(tmp_path / "k"))
    assert needless.code == 0
    without = await told.command(
        "log", "import", str(file), "--identity", str(tmp_path / "k"), "--yes"
    )
    assert without.code == 2
    assert "holds no secrets" in without.err
