"""`log verify`: by the registry, and of a file without one."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from devstack import Postgres

from tests.integration.cli.conftest import Told, command_for, tell
from tests.support.registry import fresh_database, served


async def test_an_intact_log_has_a_head_that_can_be_kept_and_asked_for(told: Told) -> None:
    ended = await told.command.done("log", "verify", "-o", "json")
    verdict = ended.json
    assert (verdict["of"], verdict["intact"], verdict["problem"]) == ("registry", True, "")
    assert verdict["events"] == verdict["head"]["position"]
    kept = f"{verdict['head']['position']}:{verdict['head']['hash']}"
    assert f"head    {kept}" in (await told.command.done("log", "verify", "--expect", kept)).out
    assert ended.err == ""


async def test_another_head_than_was_kept_ends_with_1(told: Told) -> None:
    position = (await told.command.done("log", "verify", "-o", "json")).json["head"]["position"]
    ended = await told.command("log", "verify", "--expect", f"{position}:{'ab' * 32}", "-o", "json")
    assert ended.code == 1
    assert ended.json["intact"] is False
    assert "rewritten" in ended.json["problem"]
    assert ended.err.startswith("eventflows: the log is not what was sealed")


async def test_it_goes_on_from_a_seal_that_was_verified_before(told_anew: Told) -> None:
    command = told_anew.command
    head = (await command.done("log", "verify", "-o", "json")).json["head"]
    again = await tell_more(told_anew)
    words = ("--after", str(head["position"]), "--hash", head["hash"])
    verdict = (await command.done("log", "verify", *words, "-o", "json")).json
    assert verdict["events"] == again
    assert verdict["head"]["position"] == head["position"] + again


async def tell_more(told: Told) -> int:
    """Two more accounts; how many events that is."""
    from tests.support.registry import account_request

    async with told.registry.client() as client:
        for name in ("one", "two"):
            await client.CreateAccount(account_request(name))
    return 2


async def test_a_row_that_a_superuser_changed_is_found_and_located(
    postgres: Postgres, tmp_path: Path
) -> None:
    database = await fresh_database(postgres)
    async with served(database, tmp_path / "registry") as registry:
        await tell(registry)
        connection = await asyncpg.connect(database.owner_dsn)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(
                "UPDATE log.events SET data = data || '\\x00' WHERE position = 3"
            )
        finally:
            await connection.close()
        command = command_for(registry, tmp_path)
        ended = await command("log", "verify")
        assert ended.code == 1
        assert "BROKEN" in ended.out
        assert "last good seal  2:" in ended.out
        assert "3" in ended.err
