"""What can go wrong while real servers are started and stopped; every message says where to look.

DevstackError
├── StartFailed           a server did not come up; the message has its log's path and end
│   ├── DiedAtStart       its process ended by itself: read the log
│   └── NotReadyInTime    its process lives but did not answer: raise the limit, or read the log
├── StopFailed            a process outlived even SIGKILL for the time allowed
├── NotRunning            the call needs a started server
├── NotOurs               the server was given to us by address, so we may not kill or restart it
└── ToolFailed            a helper run (initdb, storage format) or a download did not succeed
"""

from pathlib import Path


class DevstackError(Exception):
    """Root of all errors of this package."""


class StartFailed(DevstackError):
    """A server did not come up. `log_path` is the file to read, `log_tail` its end."""

    def __init__(self, message: str, *, log_path: Path, log_tail: str) -> None:
        super().__init__(f"{message}\nlog: {log_path}\n{log_tail or '(the log is empty)'}")
        self.log_path = log_path
        self.log_tail = log_tail


class DiedAtStart(StartFailed):
    """The process ended before it answered."""


class NotReadyInTime(StartFailed):
    """The process lives, but its probe did not succeed within the limit."""


class StopFailed(DevstackError):
    """A process is still there after SIGKILL and the time allowed."""


class NotRunning(DevstackError):
    """The server has not been started, or was stopped."""


class NotOurs(DevstackError):
    """The server was handed in by address: killing and restarting it is not ours to do."""


class ToolFailed(DevstackError):
    """A short helper run or a download failed; the message carries what it said."""
