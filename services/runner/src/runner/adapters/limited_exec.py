"""Becomes another program, after giving itself limits. Standard library only.

    python -I -S limited_exec.py data_bytes=N cpu_s=N files=N file_bytes=N parent=PID -- /program …

Runs between fork and exec of every child of the runner, in a process of its own, since Python code
in a forked copy of a process with threads (`preexec_fn`) can hang. The price: 15 ms a start.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OOM_SCORE = 500
"""The kernel, out of memory, ends an algorithm before it ends the runner."""

_RESOURCES = {
    # Private writable memory (Linux 4.7 and later); RLIMIT_AS would count mapped model files too.
    "data_bytes": resource.RLIMIT_DATA,
    "cpu_s": resource.RLIMIT_CPU,
    "files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
}


def main(argv: list[str]) -> None:
    """Never returns: execs the program or raises."""
    cut = argv.index("--")
    options = dict(option.split("=", 1) for option in argv[:cut])
    command = argv[cut + 1 :]
    _die_with(int(options["parent"]))
    _prefer_for_oom()
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.closerange(3, min(files_max, 65_536))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, kind in _RESOURCES.items():
        if name in options:
            _limit(kind, int(options[name]))
    os.execv(command[0], command)  # noqa: S606  no shell is what we want


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _die_with(parent: int) -> None:
    """SIGKILL to us when the runner dies, so that `kill -9` of it leaves no algorithm behind."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _prefer_for_oom() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(OOM_SCORE))
    except OSError:
        pass  # not Linux, or a container without the right: only the preference is lost


if __name__ == "__main__":
    main(sys.argv[1:])
