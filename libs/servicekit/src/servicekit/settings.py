"""Settings are one frozen record, read once from the environment.

A variable that is missing, wrong or unknown stops the start with one sentence per problem, which
names the variable and says how to mend it, and never repeats its value: it could be a secret.
The price: every field needs a description, since sentences and README tables are made from it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PORT_MAX = 65_535
HOST_CHARACTERS_MAX = 253
ADDRESSES_MAX = 64
FILE_SUFFIX = "_file"

HIDDEN_LENGTH_MIN = 4
"""Values shorter than this are not cut out of error sentences: they would tear words apart."""


class SettingsError(Exception):
    """The process is set up wrongly and cannot start; a restart does not help.

    `problems`: a sentence each, without secrets. `run_service` prints them and exits with 78.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name or address with a port. `str()` gives `host:port`, IPv6 in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """From `host:port` or `[ipv6]:port`. Raises ValueError with what is wrong."""
        host, separator, port = text.strip().rpartition(":")
        if not separator or not port.isascii() or not port.isdigit():
            raise ValueError("must be host:port, for example 127.0.0.1:7000")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError("must have an IPv6 address in brackets, for example [::1]:7000")
        if (
            not 0 < len(host) <= HOST_CHARACTERS_MAX
            or not host.isprintable()
            or set(host) & set(" /@,")
        ):
            raise ValueError("must have a host name or address before the colon")
        if int(port) > PORT_MAX:
            raise ValueError(f"must have a port of at most {PORT_MAX}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: object) -> object:
    return HostPort.parse(value) if isinstance(value, str) else value


def _address(value: object) -> object:
    address = _listen(value)
    if isinstance(address, HostPort) and address.port == 0:
        raise ValueError("must have a port above 0, since it is an address to connect to")
    return address


def _addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part for part in value.split(",") if part.strip()]
    if not 0 < len(parts) <= ADDRESSES_MAX:
        raise ValueError(f"must name 1 to {ADDRESSES_MAX} addresses host:port, with commas")
    return tuple(_address(part) for part in parts)


# NoDecode: pydantic-settings would take a dataclass or a tuple for JSON.
Listen = Annotated[HostPort, NoDecode, BeforeValidator(_listen)]
"""Where to listen; port 0 lets the system choose one."""
Address = Annotated[HostPort, NoDecode, BeforeValidator(_address)]
"""Where to connect to."""
Addresses = Annotated[tuple[HostPort, ...], NoDecode, BeforeValidator(_addresses)]
"""Where to connect to, several, with commas."""

LogLevel = Literal["debug", "info", "warning", "error"]


class ServiceSettings(BaseSettings):
    """What every process is told. A service derives its own with
    `class RegistrySettings(ServiceSettings, env_prefix="EVENTFLOWS_REGISTRY_")`.

    Every field needs a description (a clause: "file with …"). A field named `…_file` must name a
    file that exists and can be read. `SecretStr` fields show themselves nowhere.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    service_token_file: Path = Field(description="file with this process's own bearer token")
    identities_file: Path = Field(
        description='JSON file with the known callers, {"role": "sha256 hex of its token"}'
    )
    metrics_listen: Listen = Field(description="host:port where Prometheus may ask for metrics")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if not field.description:
                raise TypeError(f"{cls.__name__}.{name} needs Field(description=…)")

    @field_validator("*")
    @classmethod
    def _files_can_be_read(cls, value: object, info: Any) -> object:
        if info.field_name.endswith(FILE_SUFFIX) and isinstance(value, Path):
            if not value.is_file():
                raise ValueError("must name a file that exists")
            if not os.access(value, os.R_OK):
                raise ValueError("must name a file that this process may read")
        return value


S = TypeVar("S", bound=ServiceSettings)


def load_settings(cls: type[S]) -> S:
    """Reads the environment, once. Raises SettingsError with one sentence per problem."""
    problems = _unknown_variables(cls, os.environ)
    from_environment: Callable[[], S] = cls  # for mypy each field is an argument
    try:
        settings = from_environment()
    except ValidationError as error:
        raise SettingsError(
            [*problems, *(_sentence(cls, detail, os.environ) for detail in error.errors())]
        ) from None  # its text could repeat values
    if problems:
        raise SettingsError(problems)
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One line of a README's table of settings."""

    variable: str
    meaning: str
    default: str
    """Empty for a secret or an empty default, `required` when there is none."""


def describe_settings(cls: type[ServiceSettings]) -> tuple[SettingRow, ...]:
    """The settings of a service, in the order of their definition."""
    return tuple(
        SettingRow(
            variable=variable,
            meaning=cls.model_fields[name].description or "",
            default=_default_text(cls.model_fields[name]),
        )
        for variable, name in _variables(cls).items()
    )


def _variables(cls: type[ServiceSettings]) -> dict[str, str]:
    prefix = cls.model_config.get("env_prefix", "")
    if not prefix:
        raise TypeError(f'{cls.__name__} needs env_prefix="EVENTFLOWS_<SERVICE>_"')
    return {f"{prefix}{name}".upper(): name for name in cls.model_fields}


def _unknown_variables(cls: type[ServiceSettings], environ: Mapping[str, str]) -> list[str]:
    known = _variables(cls)
    prefix = cls.model_config.get("env_prefix", "").upper()
    sentences = []
    for variable in sorted(environ):
        if not variable.upper().startswith(prefix) or variable in known:
            continue
        names = [name.removeprefix(prefix) for name in known]  # alike beyond the prefix
        near = difflib.get_close_matches(variable.upper().removeprefix(prefix), names, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}."
        sentences.append(f"{variable} is not a setting: {hint}")
    return sentences


def _sentence(cls: type[ServiceSettings], detail: ErrorDetails, environ: Mapping[str, str]) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    variable = next((known for known, field in _variables(cls).items() if field == name), name)
    field = cls.model_fields.get(name)
    meaning = field.description if field is not None else "a known setting"
    if detail["type"] == "missing":
        return f"{variable} is missing: set it to the {meaning}."
    reason = detail["msg"].removeprefix("Value error, ").removeprefix("Input should ")
    value = environ.get(variable, "")
    if len(value) >= HIDDEN_LENGTH_MIN:
        reason = reason.replace(value, "[hidden]")
    subject = f"{variable} " if variable else ""
    return f"{subject}is wrong: it {_with_verb(reason)} (meaning: {meaning})."


def _with_verb(reason: str) -> str:
    return reason if reason.startswith("must ") else f"must {reason[:1].lower()}{reason[1:]}"


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    if field.is_required():
        return "required"
    if default is None or default is PydanticUndefined or isinstance(default, SecretStr):
        return ""
    if isinstance(default, tuple):
        return ",".join(str(item) for item in default)
    return str(default)
