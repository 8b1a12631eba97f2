"""Finished builds on disk: put in place whole, found after a restart, removed when unused.

    <data>/builds/<algorithm id>/<commit>/source/…    the author's files
                                          build.json  what to start, written last
    <data>/environments/<owner id>/<digest>/          shared by builds that want the same

The modification time of build.json tells when a runner last began to use it. Only BUILDS_KEPT_MAX
are kept; one that goes is built again when somebody runs it. A build that was killed leaves only
`.unfinished-*` folders, removed at the next start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from runner.adapters.adk_process import AdkProgram

BUILDS_KEPT_MAX: Final = 200
UNFINISHED: Final = ".unfinished-"
MANIFEST: Final = "build.json"

BuildKey: TypeAlias = tuple[str, str]
"""Algorithm id and commit."""


class _Built(msgspec.Struct):
    """`build.json`."""

    module: str
    environment: str
    """Relative to the data folder."""


class BuildStore:
    """The folders `builds` and `environments` of a data folder that one runner uses.

    `in_use` names the builds that have processes: they are never removed.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        in_use: Callable[[], set[BuildKey]],
        kept_max: int = BUILDS_KEPT_MAX,
    ) -> None:
        self._data_dir, self._in_use, self._kept_max = data_dir, in_use, kept_max
        self._builds = data_dir / "builds"
        self._environments = data_dir / "environments"
        self._programs: dict[BuildKey, AdkProgram] = {}
        for folder in (self._builds, self._environments):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*/{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)

    def find(self, key: BuildKey) -> AdkProgram | None:
        """The program of a finished build whose environment is there."""
        program = self._programs.get(key)
        if program is not None:
            return program
        place = self._builds / key[0] / key[1]
        built = _read(place)
        if built is None:
            return None
        python = self._data_dir / built.environment / "bin" / "python"
        if not python.exists():
            return None
        with suppress(OSError):  # only the order of removal depends on it
            os.utime(place / MANIFEST)
        program = AdkProgram(source=place / "source", python=python, module=built.module)
        self._programs[key] = program
        return program

    def environment(self, owner_id: str, digest: str) -> Path:
        """Where this environment is, or will be."""
        return self._environments / owner_id / digest

    @asynccontextmanager
    async def unfinished(self, home: Path) -> AsyncIterator[Path]:
        """A new folder in `home`; gone afterwards, unless it was put in place."""
        folder = _new_folder(home)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def home(self, algorithm_id: str) -> Path:
        """Where the builds of an algorithm are."""
        return self._builds / algorithm_id

    def put(self, key: BuildKey, folder: Path, *, module: str, environment: Path) -> None:
        """Make `folder` the finished build. One that is there and can be found stays."""
        if self.find(key) is not None:
            return
        built = _Built(module=module, environment=str(environment.relative_to(self._data_dir)))
        (folder / MANIFEST).write_bytes(msgspec.json.encode(built))
        place = self.home(key[0]) / key[1]
        shutil.rmtree(place, ignore_errors=True)  # its environment is gone, or it is half removed
        folder.rename(place)
        assert self.find(key) is not None

    def _manifests(self) -> list[Path]:
        """Of finished builds."""
        found = self._builds.glob(f"*/*/{MANIFEST}")
        return [one for one in found if not one.parent.name.startswith(UNFINISHED)]

    def set_aside_unused(self) -> list[Path]:
        """Take the builds away that were used longest ago, above the number kept, and environments
        that no build needs, if there are too many of either. Gives the folders, to be removed.

        Not while a build is being made: its environment is not needed by any finished one yet.
        """
        manifests = sorted(self._manifests(), key=_last_use, reverse=True)
        environments = [
            one for one in self._environments.glob("*/*") if not one.name.startswith(UNFINISHED)
        ]
        if max(len(manifests), len(environments)) <= self._kept_max:
            return []
        in_use = self._in_use()
        aside = []
        for manifest in manifests[self._kept_max :]:
            key = (manifest.parent.parent.name, manifest.parent.name)
            if key not in in_use:
                self._programs.pop(key, None)
                aside.append(_set_aside(manifest.parent))
        kept = (_read(one.parent) for one in self._manifests())
        needed = {built.environment for built in kept if built is not None}
        aside += [
            _set_aside(one)
            for one in environments
            if str(one.relative_to(self._data_dir)) not in needed
        ]
        return aside


def _new_folder(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=home))


def _set_aside(folder: Path) -> Path:
    """Renamed in one step, so that nobody finds half of it; the next start removes what is left."""
    aside = _new_folder(folder.parent)
    folder.rename(aside / folder.name)
    return aside


def _read(place: Path) -> _Built | None:
    try:
        return msgspec.json.decode((place / MANIFEST).read_bytes(), type=_Built)
    except (OSError, msgspec.DecodeError):
        return None


def _last_use(manifest: Path) -> float:
    try:
        return manifest.stat().st_mtime
    except OSError:
        return 0.0
