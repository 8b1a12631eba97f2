"""`make down`: stop what `make up` started and wait until it is gone."""

from __future__ import annotations

import os
import select
import signal

from examples.up import running_pid

STOP_TIMEOUT_S = 60.0


def main() -> None:
    """SIGTERM, wait; SIGKILL after the limit (its servers die with it)."""
    pid = running_pid()
    if pid is None:
        print("nothing is up")
        return
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], STOP_TIMEOUT_S)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], STOP_TIMEOUT_S)
            print("it did not stop in time and was killed")
            return
    finally:
        os.close(handle)
    print("down")


if __name__ == "__main__":
    main()
