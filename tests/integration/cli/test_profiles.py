"""Profiles of a file, as the command uses them."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.command import Command
from tests.integration.cli.conftest import Told


def write(told: Told, path: Path) -> Command:
    path.write_text(
        'default = "here"\n'
        f'[profiles.here]\naddress = "{told.registry.address}"\n'
        f'key_file = "{told.registry.folder / "operator.token"}"\n'
        '[profiles.away]\naddress = "127.0.0.1:1"\nkey_file = "away.token"\ntimeout_s = 1\n'
    )
    return Command(environ={"EVENTFLOWS_CONFIG": str(path)})


async def test_a_profile_is_all_that_a_command_needs(told: Told, tmp_path: Path) -> None:
    command = write(told, tmp_path / "config.toml")
    assert (await command.done("log", "verify", "-o", "json")).json["intact"] is True
    assert (await command("log", "verify", "--profile", "away")).code == 78
    (tmp_path / "away.token").write_text("k" * 43)
    assert (await command("log", "verify", EVENTFLOWS_PROFILE="away")).code == 69


async def test_the_profiles_are_listed_without_keys(told: Told, tmp_path: Path) -> None:
    command = write(told, tmp_path / "config.toml")
    ended = await command.done("profile", "list", "-o", "json")
    assert [each["name"] for each in ended.json["profiles"] if each["default"]] == ["here"]
    assert told.registry.token("operator") not in ended.out
    table = (await command.done("profile", "list")).out
    assert "here *" in table
    assert "away" in table


async def test_it_says_where_each_value_is_from(told: Told, tmp_path: Path) -> None:
    command = write(told, tmp_path / "config.toml")
    ended = await command.done(
        "profile", "show", "--address", "127.0.0.1:2", "-o", "json", EVENTFLOWS_KEY_FILE="/k"
    )
    assert ended.json["origins"] == {
        "address": "--address",
        "key_file": "EVENTFLOWS_KEY_FILE",
        "timeout_s": "default",
    }
    assert ended.json["router_address"] is None
    assert (
        "(from --address)"
        in (await command.done("profile", "show", "--address", "127.0.0.1:2")).out
    )
