"""Builds ADK algorithms from git: check out, make the environment, start once, put in place.

The price of sharing environments: one of an owner's algorithms can change what another one imports.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from catalog.records import Algorithm
from kernel.errors import Overloaded, Unavailable

from runner.adapters.adk_process import AdkProcess, AdkProgram, NotLoaded
from runner.adapters.build_steps import (
    BuildFailed,
    BuildLog,
    check_out,
    checked_url,
    make_environment,
)
from runner.adapters.build_store import BuildKey, BuildStore
from runner.adapters.child_process import ChildLimits
from runner.domain.commit import is_commit
from runner.ports import BuildReport, Clock, Job

BUILDS_AT_ONCE_MAX: Final = 2
BUILDS_WAITING_MAX: Final = 100
BUILD_WAIT_MAX_S: Final = 20.0
"""How long a run waits for a build on demand before its caller is asked to come back."""
LOG_QUOTE_MAX: Final = 500
"""Characters of a failed build's log that callers of a run are told."""
FAILURE_KEPT_S: Final = 30.0
"""A build on demand that failed is not tried again before this."""
REQUIREMENTS_BYTES_MAX: Final = 1024 * 1024
CONF_BYTES_MAX: Final = 64 * 1024

_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERS: Final = re.compile(rb"(?m)^\s*[-./]|file:|@\s*git")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Where builds go and what they may take. `schemes`: of source URLs."""

    data_dir: Path
    schemes: tuple[str, ...]
    timeout_s: float
    load_timeout_s: float
    limits: ChildLimits = field(default_factory=ChildLimits)


class _Conf(msgspec.Struct):
    """`algorithmia.conf`: the module's name is all that we need."""

    algoname: str


class GitBuilder:
    """A `Builder` for sources of kind git; `find` serves the executor."""

    def __init__(self, settings: BuildSettings, store: BuildStore, clock: Clock) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._running: dict[BuildKey, asyncio.Task[BuildReport]] = {}
        self._failures: dict[BuildKey, tuple[float, str]] = {}
        self._slots = asyncio.Semaphore(BUILDS_AT_ONCE_MAX)
        self._environment_locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def build(self, algorithm: Algorithm, commit_sha: str) -> BuildReport:
        """See `ports.Builder`."""
        return await asyncio.shield(self._task(algorithm, commit_sha))

    async def find(self, job: Job) -> AdkProgram:
        """The built program; builds it when this runner has not yet (a new host, a lost disk).

        Raises Unavailable when that takes longer than BUILD_WAIT_MAX_S or fails.
        """
        key = (job.algorithm.algorithm_id, job.commit_sha)
        program = self._store.find(key)
        if program is not None:
            return program
        self._require_no_failure(key)
        task = self._task(job.algorithm, job.commit_sha)
        await asyncio.wait([task], timeout=BUILD_WAIT_MAX_S)
        if not task.done():
            raise Unavailable("This version is being built on this runner: try again later.")
        report = task.result()
        if not report.succeeded:
            self._failures[key] = (self._clock.monotonic_s(), report.log_tail[-LOG_QUOTE_MAX:])
        self._require_no_failure(key)
        program = self._store.find(key)
        if program is None:
            raise Unavailable("The build of this version was lost: try again.")
        return program

    async def close(self) -> None:
        """Give up what is being built. Harmless twice."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())

    def _require_no_failure(self, key: BuildKey) -> None:
        """Raises Unavailable when a build on demand failed a moment ago."""
        oldest_s = self._clock.monotonic_s() - FAILURE_KEPT_S
        self._failures = {k: one for k, one in self._failures.items() if one[0] > oldest_s}
        if key in self._failures:
            log = self._failures[key][1]
            raise Unavailable(f"This version could not be built on this runner: {log}")

    def _task(self, algorithm: Algorithm, commit_sha: str) -> asyncio.Task[BuildReport]:
        key = (algorithm.algorithm_id, commit_sha)
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= BUILDS_WAITING_MAX:
                raise Overloaded("Too many builds wait: try again later.", retry_after_s=30.0)
            task = asyncio.create_task(self._report(algorithm, commit_sha))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return task

    async def _tidy(self) -> None:
        if len(self._running) == 1:  # the build that has just ended
            for folder in self._store.set_aside_unused():
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _report(self, algorithm: Algorithm, commit_sha: str) -> BuildReport:
        log = BuildLog(commit_sha)
        async with self._slots:
            started_at = self._clock.now()
            succeeded = False
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    await self._build(algorithm, log)
                succeeded = True
            except BuildFailed:
                pass  # its sentence is in the log
            except TimeoutError:
                log.say(f"The build took longer than {self._settings.timeout_s:g} seconds.")
            except OSError as error:
                log.say(f"The runner's disk failed: {error.strerror}.")
            report = self._finished(log, started_at, succeeded=succeeded)
        await self._tidy()
        return report

    def _finished(self, log: BuildLog, started_at: datetime, *, succeeded: bool) -> BuildReport:
        return BuildReport(
            succeeded=succeeded,
            commit_sha=log.commit_sha,
            log_tail=log.text(),
            started_at=started_at,
            finished_at=self._clock.now(),
        )

    async def _build(self, algorithm: Algorithm, log: BuildLog) -> None:
        _check_ids(algorithm, log)
        algorithm_id = algorithm.algorithm_id
        if log.commit_sha and self._store.find((algorithm_id, log.commit_sha)) is not None:
            log.say("This commit is built already.")
            return
        url = checked_url(algorithm.source_url, schemes=self._settings.schemes, log=log)
        async with self._store.unfinished(self._store.home(algorithm_id)) as folder:
            source = folder / "source"
            await check_out(url, source, log=log)
            key = (algorithm_id, log.commit_sha)
            environment = await self._environment(algorithm, source, log)
            module = _module(source, log)
            python = environment / "bin" / "python"
            await self._try(AdkProgram(source=source, python=python, module=module), log)
            self._store.put(key, folder, module=module, environment=environment)

    async def _environment(self, algorithm: Algorithm, source: Path, log: BuildLog) -> Path:
        file = source / "requirements.txt"
        content = _read_bounded(file, REQUIREMENTS_BYTES_MAX, log)
        digest = _digest(content, alone=f"{algorithm.algorithm_id}/{log.commit_sha}")
        place = self._store.environment(algorithm.owner_id, digest)
        async with self._environment_locks.setdefault(place, asyncio.Lock()):
            if (place / "bin" / "python").exists():
                log.say("The environment of the same requirements.txt is used.")
                return place
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            requirements = None if content is None else file
            async with self._store.unfinished(place.parent) as folder:
                fresh = folder / "environment"
                await make_environment(fresh, requirements, python=sys.executable, log=log)
                fresh.rename(place)
        return place

    async def _try(self, program: AdkProgram, log: BuildLog) -> None:
        """Start it once: what does not load is no build."""
        try:
            process = await AdkProcess.start(
                program,
                homes=self._settings.data_dir / "homes",
                limits=self._settings.limits,
                load_timeout_s=self._settings.load_timeout_s,
            )
        except NotLoaded as error:
            log.say(error.output.strip())
            raise log.fail(f"The algorithm does not load: {error.error.message}") from error
        failure = process.load_error
        await process.stop()
        if failure is not None:
            raise log.fail(
                f"The algorithm does not load: {failure.error_type}: {failure.message}\n"
                f"{failure.stacktrace}"
            )
        log.say("The algorithm loads.")


def _digest(requirements: bytes | None, *, alone: str) -> str:
    """Name of the environment: of the Python and requirements.txt, and of `alone` when that file
    refers to others, whose content we do not know."""
    parts = [f"{sys.implementation.cache_tag} {sys.platform}\n".encode(), requirements or b""]
    if requirements is not None and _REFERS.search(requirements):
        parts.append(alone.encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:32]


def _check_ids(algorithm: Algorithm, log: BuildLog) -> None:
    """They become folder names."""
    if not _ID.fullmatch(algorithm.algorithm_id) or not _ID.fullmatch(algorithm.owner_id):
        raise log.fail("The algorithm's or its owner's id is not of letters, digits and hyphens.")
    if log.commit_sha and not is_commit(log.commit_sha):
        raise log.fail("A commit is 40 lower-case hex digits.")


def _module(source: Path, log: BuildLog) -> str:
    """`src.<algoname>`, as `algorithmia.conf` names it."""
    content = _read_bounded(source / "algorithmia.conf", CONF_BYTES_MAX, log)
    if content is None:
        raise log.fail('algorithmia.conf is missing: add {"username": …, "algoname": …}.')
    try:
        name = msgspec.json.decode(content, type=_Conf).algoname
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise log.fail(f"algorithmia.conf is wrong: {error}.") from error
    if not _MODULE.fullmatch(name):
        raise log.fail(f"algorithmia.conf: algoname {name[:60]!r} is not a module name.")
    if not (source / "src" / f"{name}.py").is_file():
        raise log.fail(f"src/{name}.py is missing: algorithmia.conf names it.")
    return f"src.{name}"


def _read_bounded(path: Path, bytes_max: int, log: BuildLog) -> bytes | None:
    """The file's content, None when it is not there. A link to elsewhere counts as not there."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise log.fail(f"{path.name} is larger than {bytes_max} bytes.")
    return content
