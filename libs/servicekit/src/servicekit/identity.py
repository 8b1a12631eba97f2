"""Who calls, and what may they call: a bearer token names a role, one table says the rest.

A process proves itself with its own token (`ServiceToken`); the others know only the SHA-256 of
it (`Identities`). Tokens are 256 random bits, so a plain hash is enough, and looking the *digest*
up in a dict tells an attacker nothing by its timing: nobody can steer it towards a known one.
The price: a token is rotated by writing files and restarting.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args

from servicekit.logs import hide
from servicekit.settings import SettingsError

Role = Literal["gateway", "router", "runner", "operator", "registry"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

TOKEN_CHARACTERS_MIN: Final = 32
TOKEN_CHARACTERS_MAX: Final = 512
IDENTITIES_BYTES_MAX: Final = 64 * 1024

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN_RANDOM_BYTES: Final = 32


def _roles(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


_ACCOUNTS = _roles("gateway", "operator")
_COMMANDS = _roles("gateway")
_AUDIT = _roles("gateway", "operator")
_STEERING = _roles("gateway", "operator")
_READERS = _roles("gateway", "router", "runner", "operator")
_LIVE_QUESTIONS = _roles("gateway", "router", "operator")
_REGISTRY = "/eventflows.registry.v1.Registry/"
_ROUTER = "/eventflows.router.v1.Router/"
_RUNNER = "/eventflows.runner.v1.Runner/"

ALLOWED: Final[Mapping[str, frozenset[Role]]] = MappingProxyType(
    {
        f"{_REGISTRY}CreateAccount": _ACCOUNTS,
        f"{_REGISTRY}CreateApiKey": _ACCOUNTS,
        f"{_REGISTRY}RevokeApiKey": _ACCOUNTS,
        f"{_REGISTRY}CreateAlgorithm": _COMMANDS,
        f"{_REGISTRY}FinishBuild": _COMMANDS,
        f"{_REGISTRY}PublishVersion": _COMMANDS,
        f"{_REGISTRY}CreateConnection": _COMMANDS,
        f"{_REGISTRY}UpdateConnection": _COMMANDS,
        f"{_REGISTRY}DeleteConnection": _COMMANDS,
        f"{_REGISTRY}SetTopicAccess": _COMMANDS,
        f"{_REGISTRY}EnableFlow": _COMMANDS,
        f"{_REGISTRY}DisableFlow": _COMMANDS,
        # A router writes down that a rule of a flow halted it; only people let it go on.
        f"{_REGISTRY}PauseFlow": _roles("gateway", "operator", "router"),
        f"{_REGISTRY}ResumeFlow": _STEERING,
        f"{_REGISTRY}RequestRedrive": _STEERING,
        f"{_REGISTRY}RequestPurge": _STEERING,
        f"{_REGISTRY}CancelDeadLetterTask": _STEERING,
        # Only who carries a task out knows how it ended.
        f"{_REGISTRY}FinishDeadLetterTask": _roles("router"),
        f"{_REGISTRY}CreateListener": _COMMANDS,
        f"{_REGISTRY}DeleteListener": _COMMANDS,
        f"{_REGISTRY}Revert": _AUDIT,
        f"{_REGISTRY}ShredSecrets": _AUDIT,
        f"{_REGISTRY}GetAggregate": _AUDIT,
        f"{_REGISTRY}ListAggregates": _AUDIT,
        f"{_REGISTRY}ReadCatalog": _READERS,
        f"{_REGISTRY}ReadLog": _AUDIT,
        f"{_REGISTRY}Diff": _AUDIT,
        f"{_REGISTRY}Watch": _READERS,
        f"{_REGISTRY}GetHead": _READERS,
        f"{_REGISTRY}GetLogStatistics": _AUDIT,
        f"{_REGISTRY}VerifyLog": _AUDIT,
        # The whole log at once, and with a key its secrets too: operators only.
        f"{_REGISTRY}ExportLog": _roles("operator"),
        f"{_REGISTRY}ImportLog": _roles("operator"),
        # Broker passwords in clear: only the service that connects to brokers.
        f"{_REGISTRY}ReadCredential": _roles("router"),
        # Router workers ask each other.
        f"{_ROUTER}TestConnection": _LIVE_QUESTIONS,
        f"{_ROUTER}ListTopics": _LIVE_QUESTIONS,
        f"{_ROUTER}GetFlowStatus": _LIVE_QUESTIONS,
        f"{_ROUTER}ListDeadLetters": _roles("gateway", "operator"),
        f"{_ROUTER}GetDeadLetter": _roles("gateway", "operator"),
        f"{_ROUTER}CountDeadLetters": _roles("gateway", "operator"),
        f"{_ROUTER}GetDeadLetterTask": _LIVE_QUESTIONS,
        f"{_RUNNER}Build": _roles("gateway"),
    }
)
"""Full method name → the roles that may call it. A method that is not in it nobody may call."""

HEALTH_PREFIX: Final = "/grpc.health.v1.Health/"
REFLECTION_PREFIX: Final = "/grpc.reflection.v1alpha.ServerReflection/"
REFLECTION_CALLERS: Final = _roles("operator")
RUN_CALLERS: Final = _roles("gateway", "router")
"""Who may run algorithms: `POST /v1/algo/…` on the runner."""


def may_call(role: Role, method: str) -> bool:
    """May this role call this full method name (`/package.Service/Method`)? Unknown ones: no."""
    if method.startswith(REFLECTION_PREFIX):
        return role in REFLECTION_CALLERS
    return role in ALLOWED.get(method, frozenset())


@dataclass(frozen=True, slots=True)
class Identities:
    """The known callers of this process."""

    _role_of_digest: Mapping[bytes, Role]

    @classmethod
    def load(cls, path: Path) -> Identities:
        """Reads JSON `{"role": "sha256 hex of its token"}`.

        Raises SettingsError when the file cannot be read or holds anything else, or when two roles
        share a token.
        """
        try:
            with path.open("rb") as file:
                content = file.read(IDENTITIES_BYTES_MAX + 1)
        except OSError as error:
            raise SettingsError([f"{path} cannot be read: {error.strerror}."]) from error
        if len(content) > IDENTITIES_BYTES_MAX:
            raise SettingsError([f"{path} is larger than {IDENTITIES_BYTES_MAX} bytes."])
        try:
            rows = json.loads(content)
        except ValueError as error:
            raise SettingsError([f"{path} is not JSON."]) from error
        return cls.of(rows, origin=str(path))

    @classmethod
    def of(cls, rows: object, *, origin: str = "identities") -> Identities:
        """From `{"role": "sha256 hex"}`. Raises SettingsError, naming `origin`."""
        if not isinstance(rows, dict) or not rows:
            raise SettingsError([f'{origin} must be an object {{"role": "sha256 hex"}}.'])
        roles: dict[bytes, Role] = {}
        problems = []
        for name, digest in rows.items():
            role = _role_named(name)
            if role is None:
                problems.append(f"{origin}: {name!r} is not a role; use one of {', '.join(ROLES)}.")
            elif not isinstance(digest, str) or not _SHA256_HEX.fullmatch(digest):
                problems.append(
                    f"{origin}: {name} needs the SHA-256 of its token as 64 lower-case hex digits."
                )
            elif (other := roles.setdefault(bytes.fromhex(digest), role)) != role:
                problems.append(f"{origin}: {other} and {name} share a token; give each its own.")
        if problems:
            raise SettingsError(problems)
        return cls(MappingProxyType(roles))

    def role_of(self, authorization: str | bytes | None) -> Role | None:
        """The role behind an `Authorization` value (`Bearer <token>`); None when unknown."""
        if isinstance(authorization, bytes):
            authorization = authorization.decode("ascii", "replace")
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_CHARACTERS_MAX:
            return None
        return self._role_of_digest.get(_digest(token))


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """This process's own bearer token. Shows itself nowhere; `authorization` hands it out."""

    _token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not TOKEN_CHARACTERS_MIN <= len(self._token) <= TOKEN_CHARACTERS_MAX:
            raise SettingsError(
                [
                    f"A service token has {TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} "
                    f"characters, this one has {len(self._token)}."
                ]
            )
        if not _TOKEN.fullmatch(self._token):
            raise SettingsError(["A service token is one word of printable ASCII characters."])
        hide(self._token)

    @classmethod
    def load(cls, path: Path) -> ServiceToken:
        """Reads the file's one line. Raises SettingsError when it cannot be read or is no token."""
        try:
            with path.open("rb") as file:
                content = file.read(TOKEN_CHARACTERS_MAX + 3)  # one more than a token and CR LF
        except OSError as error:
            raise SettingsError([f"{path} cannot be read: {error.strerror}."]) from error
        try:
            return cls(content.decode("ascii", "replace").strip())
        except SettingsError as error:
            raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from None

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header or metadata."""
        return f"Bearer {self._token}"

    @property
    def sha256_hex(self) -> str:
        """What the identities file of the others holds."""
        return _digest(self._token).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """Where `create_identities` put things."""

    identities: Path
    tokens: Mapping[Role, Path]


def create_identities(directory: Path, roles: Iterable[Role] = ROLES) -> IdentityFiles:
    """Writes `<role>.token` (mode 0600) for each role and `identities.json` into `directory`.

    A token that exists is kept, so it may be called again, also after dying half-way: every file
    appears whole or not at all. Raises OSError, and SettingsError for a token file that holds none.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    tokens: dict[Role, Path] = {}
    digests: dict[str, str] = {}
    for role in roles:
        path = directory / f"{role}.token"
        if not path.exists():
            _write_whole(path, secrets.token_urlsafe(_TOKEN_RANDOM_BYTES) + "\n")
        tokens[role] = path
        digests[role] = ServiceToken.load(path).sha256_hex
    identities = directory / "identities.json"
    _write_whole(identities, json.dumps(digests, indent=2) + "\n")
    return IdentityFiles(identities=identities, tokens=MappingProxyType(tokens))


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _role_named(name: str) -> Role | None:
    return next((role for role in ROLES if role == name), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
