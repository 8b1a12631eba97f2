"""What differs on a terminal: color, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.integration.cli.conftest import Told

ESCAPE = "\x1b["


async def test_there_is_color_on_a_terminal_unless_it_is_switched_off(told: Told) -> None:
    code, shown = await told.command.at_terminal("log", "verify")
    assert code == 0
    assert f"{ESCAPE}32mintact" in shown
    by_option = await told.command.at_terminal("log", "verify", "--no-color")
    by_variable = await told.command.at_terminal("log", "verify", NO_COLOR="1")
    for _, plain in (by_option, by_variable):
        assert "intact" in plain
        assert f"{ESCAPE}32m" not in plain


async def test_long_work_shows_a_bar_that_goes_away(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "log.export"
    _, shown = await told.command.at_terminal("log", "export", str(file))
    assert "exporting" in shown
    _, shown = await told.command.at_terminal("log", "verify", "--file", str(file), "-o", "json")
    assert "verifying" in shown
    after_the_bar = shown[shown.rindex(ESCAPE) :]
    assert "verifying" not in after_the_bar


async def test_json_has_no_color_on_a_terminal_either(told: Told) -> None:
    _, shown = await told.command.at_terminal("log", "tail", "-n", "1", "-o", "jsonl")
    assert ESCAPE not in shown
