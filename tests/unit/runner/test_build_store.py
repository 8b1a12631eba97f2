"""Builds on disk: whole or not at all, found again, and not more than are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runner.adapters.build_store import MANIFEST, UNFINISHED, BuildKey, BuildStore


class Disk:
    """A data folder; `store` is what a runner that starts now would have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.in_use: set[BuildKey] = set()

    def store(self, kept_max: int = 2) -> BuildStore:
        return BuildStore(self.folder, in_use=lambda: self.in_use, kept_max=kept_max)

    def environment(self, name: str) -> Path:
        python = self.folder / "environments" / "owner" / name / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return python.parents[1]

    async def put(self, store: BuildStore, key: BuildKey, *, used_s: int = 0) -> Path:
        environment = self.environment(f"environment-{key[1]}")
        async with store.unfinished(store.home(key[0])) as folder:
            (folder / "source").mkdir()
            store.put(key, folder, module="src.m", environment=environment)
        os.utime(store.home(key[0]) / key[1] / MANIFEST, (used_s, used_s))
        return environment


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


async def test_what_was_put_is_found_also_by_the_next_runner(disk: Disk) -> None:
    environment = await disk.put(disk.store(), ("a", "1"))
    program = disk.store().find(("a", "1"))
    assert program is not None
    assert program.python == environment / "bin" / "python"
    assert program.source.is_dir()
    assert disk.store().find(("a", "2")) is None


async def test_an_unfinished_build_is_gone_with_its_maker_or_at_the_next_start(disk: Disk) -> None:
    store = disk.store()
    with pytest.raises(RuntimeError, match="failed"):
        async with store.unfinished(store.home("a")) as folder:
            raise RuntimeError("failed")
    killed = store.home("a") / f"{UNFINISHED}x"
    killed.mkdir()
    assert not folder.exists()
    disk.store()
    assert not killed.exists()


async def test_a_build_without_its_environment_is_not_found_and_can_be_put_again(
    disk: Disk,
) -> None:
    environment = await disk.put(disk.store(), ("a", "1"))
    (environment / "bin" / "python").unlink()
    store = disk.store()
    assert store.find(("a", "1")) is None
    await disk.put(store, ("a", "1"))
    assert store.find(("a", "1")) is not None


async def test_a_half_written_manifest_is_no_build(disk: Disk) -> None:
    await disk.put(disk.store(), ("a", "1"))
    (disk.folder / "builds" / "a" / "1" / MANIFEST).write_text('{"module": "src')
    assert disk.store().find(("a", "1")) is None


async def test_the_build_used_longest_ago_goes_with_its_environment(disk: Disk) -> None:
    store = disk.store(kept_max=2)
    environments = [await disk.put(store, ("a", str(n)), used_s=n) for n in (1, 2, 3)]
    aside = store.set_aside_unused()
    assert len(aside) == 2
    assert store.find(("a", "1")) is None
    assert store.find(("a", "2")) is not None
    assert [one.exists() for one in environments] == [False, True, True]


async def test_a_build_in_use_stays(disk: Disk) -> None:
    store = disk.store(kept_max=1)
    for n in (1, 2):
        await disk.put(store, ("a", str(n)), used_s=n)
    disk.in_use = {("a", "1")}
    assert store.set_aside_unused() == []
    assert store.find(("a", "1")) is not None


async def test_environments_of_failed_builds_go_when_there_are_too_many(disk: Disk) -> None:
    store = disk.store(kept_max=1)
    needed = await disk.put(store, ("a", "1"))
    left = disk.environment("of-a-failed-build")
    store.set_aside_unused()
    assert (needed.exists(), left.exists()) == (True, False)
