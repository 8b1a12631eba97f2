"""How the relay reaches Kafka: a TOML file, since a password is neither an option nor a variable.

bootstrap_servers = ["kafka-1:9093", "kafka-2:9093"]
security_protocol = "SASL_SSL"            # or PLAINTEXT, the default
sasl_mechanism = "SCRAM-SHA-512"
username = "eventflows-relay"
password_file = "relay.password"          # beside this file, or an absolute path
ca_file = "ca.pem"                        # empty: the system's authorities
"""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from kernel.errors import InvalidInput
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from servicekit.logs import hide
from servicekit.settings import HostPort, SettingsError

FILE_BYTES_MAX: Final = 64 * 1024
SERVERS_MAX: Final = 20
CLIENT_ID: Final = "eventflows-relay"


def _server(text: str) -> str:
    server = HostPort.parse(text)
    if server.port == 0:
        raise ValueError("must have a port above 0, since it is an address to connect to")
    return str(server)


class KafkaSettings(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap_servers: list[Annotated[str, AfterValidator(_server)]] = Field(
        min_length=1, max_length=SERVERS_MAX
    )
    security_protocol: Literal["PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None


def without_security(servers: str) -> dict[str, Any]:
    """The same for `host:port,host:port`, as an option gives it. Raises InvalidInput."""
    try:
        given = [_server(one) for one in servers.split(",")]
    except ValueError as error:
        raise InvalidInput(f"--kafka {error}") from error
    if len(given) > SERVERS_MAX:
        raise InvalidInput(f"--kafka must name at most {SERVERS_MAX} servers: a few are enough")
    return {"bootstrap_servers": given, "client_id": CLIENT_ID}


def load(path: Path) -> dict[str, Any]:
    """Keyword arguments of any aiokafka client. Raises SettingsError; it never shows a secret."""
    try:
        given = KafkaSettings.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path} is no TOML: {error}"]) from error
    except ValidationError as error:
        problems = [
            f"{path}: {_told(one)}" for one in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError(problems) from error
    settings: dict[str, Any] = {
        "bootstrap_servers": given.bootstrap_servers,
        "client_id": CLIENT_ID,
        "security_protocol": given.security_protocol,
    }
    if given.security_protocol == "PLAINTEXT":
        if given.username or given.password_file or given.ca_file:
            raise SettingsError(
                [
                    f"{path}: username, password_file and ca_file are for SASL_SSL: name it as "
                    "security_protocol, or leave them out"
                ]
            )
    else:
        if not given.username or given.password_file is None:
            raise SettingsError([f"{path}: SASL_SSL needs username and password_file"])
        password = _text(path.parent / given.password_file).strip()
        if not password:
            raise SettingsError([f"{path}: password_file is empty"])
        hide(password)
        settings |= {
            "sasl_mechanism": given.sasl_mechanism,
            "sasl_plain_username": given.username,
            "sasl_plain_password": password,
            "ssl_context": _authorities(path, given.ca_file),
        }
    return settings


def _told(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _authorities(path: Path, ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=_text(path.parent / ca_file))
    except ssl.SSLError as error:
        raise SettingsError([f"{path}: ca_file holds no certificates in PEM"]) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise SettingsError([f"{path} is larger than {FILE_BYTES_MAX} bytes"])
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path} cannot be read"]) from error
