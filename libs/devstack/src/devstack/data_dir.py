"""Where a server keeps its files: a folder that was named and stays, or a temporary one that goes.

A run that was killed cannot tidy up, so every temporary folder holds a lock file that its owner
keeps locked, and the next run removes the folders whose lock is free.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from devstack.errors import DevstackError

_LOCK = ".owner"
# Others may pass through, not look: PostgreSQL under root runs as another user.
_PASS_THROUGH = 0o711


class DataDir:
    """A folder for one server; `discard()` removes it if it is temporary."""

    def __init__(self, path: Path | None = None, *, name: str) -> None:
        """Without `path` a temporary folder is made; `name` becomes part of its name."""
        self._gone = False
        self._lock: int | None = None
        if path is not None:
            self._path = path.resolve()
            self._path.mkdir(parents=True, exist_ok=True)
            return
        base = Path(tempfile.gettempdir()) / f"eventflows-devstack-{os.geteuid()}"
        base.mkdir(mode=_PASS_THROUGH, exist_ok=True)
        if base.stat().st_uid != os.geteuid():
            raise DevstackError(f"{base} belongs to somebody else: remove it or set TMPDIR")
        _sweep(base)
        self._path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
        self._path.chmod(_PASS_THROUGH)
        self._lock = os.open(self._path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def path(self) -> Path:
        """The folder. Raises DevstackError once a temporary one is gone."""
        if self._gone:
            raise DevstackError(f"the temporary folder {self._path} is gone: it went with `stop`")
        return self._path

    @property
    def is_temporary(self) -> bool:
        """Does everything in it go with `discard`?"""
        return self._lock is not None

    def discard(self) -> None:
        """Remove a temporary folder with all in it; leave a named one. Harmless twice."""
        if self._lock is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._lock)
            self._lock, self._gone = None, True


def _sweep(base: Path) -> None:
    """Remove what killed runs left. A folder without a lock file is just being made: not ours."""
    for lock_path in base.glob(f"*/{_LOCK}"):
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_path.parent, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
