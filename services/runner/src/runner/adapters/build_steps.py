"""The programs that a build calls, git and uv, as children with limits; their output is the log."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uv

from runner.adapters.child_process import ChildLimits, ChildProcess, Tail
from runner.domain.commit import is_commit
from runner.domain.limits import BUILD_LOG_BYTES_MAX, STDERR_TAIL_BYTES_MAX

FILE_BYTES_MAX: Final = 8 * 1024**3
"""Of one file that a build writes."""
LIMITS: Final = ChildLimits(file_bytes=FILE_BYTES_MAX)

_FOR_BOTH: Final = frozenset({"PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "no_proxy", "all_proxy"})
_FOR_GIT: Final = frozenset({"SSH_AUTH_SOCK"})
_FOR_UV: Final = frozenset(
    {
        "UV_CACHE_DIR",
        "UV_CONCURRENT_BUILDS",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_CONCURRENT_INSTALLS",
        "UV_CONFIG_FILE",
        "UV_DEFAULT_INDEX",
        "UV_EXCLUDE_NEWER",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_HTTP_CONNECT_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INDEX",
        "UV_INDEX_STRATEGY",
        "UV_INDEX_URL",
        "UV_INSECURE_HOST",
        "UV_LINK_MODE",
        "UV_NATIVE_TLS",
        "UV_NO_CONFIG",
        "UV_NO_INDEX",
        "UV_OFFLINE",
        "UV_SYSTEM_CERTS",
    }
)
"""By name, never by prefix: uv hands its environment on to the packages that it builds, and their
build scripts are strangers' code. Variables that hold passwords or tokens are not among them."""
_USERINFO: Final = re.compile(r"://[^/@\s]*@")


class BuildFailed(Exception):
    """A step failed; its sentence is already in the log."""


class BuildLog:
    """What the steps said, the newest 16 kB without passwords of URLs; the commit, once known."""

    def __init__(self, commit_sha: str) -> None:
        self.commit_sha = commit_sha
        """40 hex digits; empty until the default branch was looked up."""
        self.tail = Tail(BUILD_LOG_BYTES_MAX)

    def say(self, sentence: str) -> None:
        """One line of ours."""
        self.tail.add(f"{sentence}\n".encode())

    def fail(self, sentence: str) -> BuildFailed:
        """The error to raise, told in the log."""
        self.say(sentence)
        return BuildFailed(sentence)

    def text(self) -> str:
        """At most 16 kB of UTF-8."""
        text = _USERINFO.sub("://[hidden]@", self.tail.text())
        return text.encode()[-BUILD_LOG_BYTES_MAX:].decode("utf-8", "ignore")


def checked_url(url: str, *, schemes: Sequence[str], log: BuildLog) -> str:
    """The URL, if git may be given it. Raises BuildFailed: `ext::` and the like run commands."""
    if urlsplit(url).scheme not in schemes:
        wanted = ", ".join(f"{scheme}://" for scheme in schemes)
        raise log.fail(f"The source must be a URL that starts with one of {wanted}.")
    if not url.isprintable() or " " in url:
        raise log.fail("The source URL holds characters that a URL cannot have.")
    return url


async def check_out(url: str, folder: Path, *, log: BuildLog) -> None:
    """Put the files at the log's commit, or of the default branch, in a new folder; note it.

    Only the commit itself is fetched; servers that refuse that are asked for everything. There is
    no .git afterwards: an algorithm need not know where it came from.
    """
    git = shutil.which("git")
    if git is None:
        raise log.fail("git is not installed on the runner: install it.")
    await _must(log, [git, "init", "--quiet", str(folder)], folder.parent, _FOR_GIT)
    shallow = [
        git,
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--",
        url,
        log.commit_sha or "HEAD",
    ]
    target = "FETCH_HEAD"
    if await _run(log, shallow, folder, _FOR_GIT) != 0:
        wanted = "+refs/*:refs/source/*" if log.commit_sha else "HEAD"
        await _must(log, [git, "fetch", "--quiet", "--", url, wanted], folder, _FOR_GIT)
        target = log.commit_sha or target
    await _must(log, [git, "checkout", "--quiet", "--detach", target], folder, _FOR_GIT)
    head = (folder / ".git" / "HEAD").read_text().strip()
    await asyncio.to_thread(shutil.rmtree, folder / ".git")
    if not is_commit(head):
        raise log.fail(f"git checked out {head[:60]!r}, which is no commit of 40 hex digits.")
    log.commit_sha = head
    log.say(f"Checked out commit {head}.")


async def make_environment(
    folder: Path, requirements: Path | None, *, python: str, log: BuildLog
) -> None:
    """A virtual environment in `folder` with what `requirements` names; it may be moved later.

    Files are copied, not linked from uv's cache: an algorithm that writes into its environment must
    not reach those of others.
    """
    binary = uv.find_uv_bin()
    create = [binary, "venv", "--quiet", "--relocatable", "--no-project", "--python", python]
    await _must(log, [*create, str(folder)], folder.parent, _FOR_UV)
    if requirements is None:
        log.say("There is no requirements.txt: the environment is empty.")
        return
    install = [binary, "pip", "install", "--color=never", "--link-mode=copy"]
    where = ["--python", str(folder / "bin" / "python"), "-r", requirements.name]
    await _must(log, [*install, *where], requirements.parent, _FOR_UV)


async def _must(log: BuildLog, argv: Sequence[str], cwd: Path, variables: frozenset[str]) -> None:
    code = await _run(log, argv, cwd, variables)
    if code != 0:
        raise log.fail(f"{Path(argv[0]).name} {argv[1]} failed with exit code {code}.")


async def _run(log: BuildLog, argv: Sequence[str], cwd: Path, variables: frozenset[str]) -> int:
    """The exit code. Cancelling, as the build's time limit does, kills the program's group."""
    child = await ChildProcess.spawn(
        argv,
        cwd=cwd,
        env=_environment(variables),
        limits=LIMITS,
        output=log.tail,
        errors=Tail(STDERR_TAIL_BYTES_MAX),
    )
    try:
        child.end_input()
        return await asyncio.shield(child.exited)
    finally:
        await child.stop()


def _environment(variables: frozenset[str]) -> Mapping[str, str]:
    """What git and uv both need, and the `variables` of the one that is started; nothing else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _FOR_BOTH or name in variables or name.lower() in _PROXIES
    }
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:ssh:file",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    }
