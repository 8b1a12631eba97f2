"""What every memory of restarts promises, and what the file does when it is broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from router.adapters.memory_restarts import MemoryRestarts
from router.adapters.restart_file import FILE_NAME, RestartFile
from router.control_ports import RestartMemory

AT = datetime(2026, 11, 30, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture(params=["memory", "file"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> RestartMemory:
    return MemoryRestarts() if request.param == "memory" else RestartFile(tmp_path)


def test_nothing_is_remembered_at_first(memory: RestartMemory) -> None:
    assert memory.load() == {}


def test_what_is_saved_is_loaded(memory: RestartMemory) -> None:
    restarts = {"a": AT, "b": AT + timedelta(days=1)}
    memory.save(restarts)
    assert memory.load() == restarts


def test_the_last_save_stands(memory: RestartMemory) -> None:
    memory.save({"a": AT})
    memory.save({"b": AT})
    assert memory.load() == {"b": AT}


def test_what_was_handed_over_stays_the_callers(memory: RestartMemory) -> None:
    restarts = {"a": AT}
    memory.save(restarts)
    restarts.clear()
    assert memory.load() == {"a": AT}


def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    RestartFile(tmp_path).save({"a": AT})
    assert RestartFile(tmp_path).load() == {"a": AT}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": "b"}', b'{"a": 1e99}', b"\xff"])
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert RestartFile(tmp_path).load() == {}


def test_a_folder_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    memory = RestartFile(tmp_path / "gone")
    memory.save({"a": AT})
    assert memory.load() == {}
