"""Becomes the server: dies with its parent, drops root, pins itself to CPUs, then `exec`.

Run as a program of its own (`python -I -S launch.py OPTIONS ARGV...`) because Python code between
fork and exec can hang when the parent has threads, and a parent with gRPC always has. The price is
the start of one bare interpreter, about 15 ms. The process id stays the same over `exec`.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
EXIT_CANNOT_RUN = 127

_libc = ctypes.CDLL(None, use_errno=True)


def _drop_root(uid: int, gid: int) -> None:
    """Become `uid`, but keep the right to reach files that only root may reach.

    A project below /root is closed to every other user, and PostgreSQL refuses root. Opening the
    folders to all would change the machine, so the capability CAP_DAC_OVERRIDE is carried over
    instead. Where the kernel refuses that, the server's log names the path it could not open.
    """
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(uid, uid, uid)
    bit = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(
        bit, bit, bit, 0, 0, 0
    )  # effective, permitted, inheritable; low, high
    if _libc.capset(header, sets) == 0:
        _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def main() -> None:
    options = json.loads(sys.argv[1])
    argv = sys.argv[2:]
    if options["uid"] is not None:
        _drop_root(options["uid"], options["gid"])
    # After the change of user, which clears it; before the look at the parent, which may be gone.
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != options["parent"]:
        sys.exit(EXIT_CANNOT_RUN)
    if options["cpus"]:
        os.sched_setaffinity(0, options["cpus"])
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the whole purpose
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_CANNOT_RUN)


if __name__ == "__main__":
    main()
