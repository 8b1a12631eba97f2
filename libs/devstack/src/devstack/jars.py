"""Java libraries by a committed lock file: exact versions, each file checked against its SHA-256.

jgo itself only writes lock files and never installs from one, and resolving anew takes seconds
and may drift. So jgo resolves once (`python -m devstack.jars` renews the lock) and afterwards only
fetches the listed files. The lock has jgo's own form and names no host and no path.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devstack.errors import ToolFailed

if TYPE_CHECKING:
    from jgo.env._lockfile import LockedDependency
    from jgo.maven import MavenContext

CACHE_VARIABLE = "EVENTFLOWS_DEVSTACK_CACHE"
KAFKA_LOCK = Path(__file__).with_name("kafka.lock.toml")
# "!" keeps log4j's own version wishes out: they would put kafka-clients 3.9 beside Kafka 4.1.
KAFKA_COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.1.1+org.apache.logging.log4j:log4j-slf4j-impl:2.25.2!"
)
DOWNLOADS_AT_ONCE = 4
DOWNLOAD_TRIES_MAX = 3


def cache_dir() -> Path:
    """Shared by all runs: EVENTFLOWS_DEVSTACK_CACHE, else `eventflows` in the user's cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user_cache) / "eventflows"


def class_path(lock_path: Path = KAFKA_LOCK) -> str:
    """The locked files joined for `java -cp`, downloaded first where the cache lacks them.

    Blocks: about 20 s on an empty cache, 0.1 s on a filled one. Safe to call from several processes
    at once. Raises ToolFailed when a file cannot be had or differs from the lock.
    """
    from jgo.env import LockFile

    context = _context(cache_dir() / "maven")
    locked = LockFile.load(lock_path).dependencies
    with _alone(cache_dir()), ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as threads:
        return os.pathsep.join(threads.map(lambda jar: str(_fetch(jar, context)), locked))


def _context(repository: Path) -> "MavenContext":
    """Downloads as the user's jgo settings say (mirrors), else from where jgo looks by itself."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    return MavenContext(
        repo_cache=repository, remote_repos=GlobalSettings.load().repositories or None
    )


def _fetch(jar: "LockedDependency", context: "MavenContext") -> Path:
    """A cut-off download leaves a part of a file behind, so a wrong sum is worth another try."""
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    artifact = component.artifact(jar.classifier or "", jar.packaging)
    trouble = ""
    for _ in range(DOWNLOAD_TRIES_MAX):
        try:
            path = Path(artifact.resolve())
        except Exception as error:  # noqa: BLE001 - jgo raises RuntimeError, OSError and requests' own
            trouble = f"{type(error).__name__}: {error}"
            continue
        if (found := _sha256(path)) == jar.sha256:
            return path
        trouble = f"SHA-256 is {found}, the lock says {jar.sha256}"
        path.unlink(missing_ok=True)
    raise ToolFailed(f"cannot get {jar.artifactId} {jar.version}: {trouble}")


def _sha256(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time fills the cache; jgo writes files in place."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def renew_lock(lock_path: Path, coordinates: str) -> int:
    """Resolve `coordinates` afresh and write the lock; give the number of files."""
    import jgo
    from jgo.env._lockfile import LockedDependency, LockFile

    with tempfile.TemporaryDirectory() as empty:
        context = _context(Path(empty))
        jars = []
        for found in jgo.resolve(coordinates):
            component = context.project(found.groupId, found.artifactId).at_version(found.version)
            path = component.artifact(found.classifier or "", found.packaging).resolve()
            jars.append(
                LockedDependency(
                    found.groupId,
                    found.artifactId,
                    found.version,
                    found.packaging,
                    found.classifier or None,
                    _sha256(Path(path)),
                )
            )
    lock: Any = LockFile(
        jars, environment_name=lock_path.name.split(".")[0], jgo_version=jgo.__version__
    )
    lock.save(lock_path)
    return len(jars)


if __name__ == "__main__":
    print(f"{KAFKA_LOCK.name}: {renew_lock(KAFKA_LOCK, KAFKA_COORDINATES)} files")
