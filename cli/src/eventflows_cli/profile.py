"""Which registry and router, with which key: options, then the environment, then a file's profile.

    --address, --router-address, --key-file, --timeout                    win over
    EVENTFLOWS_ADDRESS, EVENTFLOWS_ROUTER_ADDRESS, EVENTFLOWS_KEY_FILE    which win over
    the profile that --profile or EVENTFLOWS_PROFILE names, else `default` of the file,
    else its only one

The file is TOML: EVENTFLOWS_CONFIG, else eventflows/config.toml below XDG_CONFIG_HOME (~/.config).
A key itself is never an option or a variable: both can be read by other processes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kernel.errors import InvalidInput
from servicekit.settings import HostPort, SettingsError

TIMEOUT_DEFAULT_S: Final = 30.0
TIMEOUT_MAX_S: Final = 3_600.0
CONFIG_BYTES_MAX: Final = 64 * 1024
_PROFILE_KEYS: Final = ("address", "router_address", "key_file", "timeout_s")
_OPTIONAL: Final = ("router_address",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options say; None: nothing."""

    profile: str | None = None
    address: str | None = None
    router_address: str | None = None
    key_file: Path | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the services are and what proves who we are. `origins`: where each value is from.

    `router_address` is None when nobody says it: most commands ask the registry alone.
    """

    name: str
    address: HostPort
    router_address: HostPort | None
    key_file: Path
    timeout_s: float
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFile:
    """The file's content. A path in it is relative to the file's folder."""

    path: Path
    default: str
    profiles: Mapping[str, Mapping[str, Any]]


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the profile file is, whether it exists or not."""
    if given := environ.get("EVENTFLOWS_CONFIG"):
        return Path(given).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "eventflows" / "config.toml"


def read_profiles(environ: Mapping[str, str]) -> ProfileFile:
    """The profile file; without profiles when there is none. Raises SettingsError."""
    path = config_path(environ)
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        if environ.get("EVENTFLOWS_CONFIG"):
            raise SettingsError(
                [f"EVENTFLOWS_CONFIG names {path}, which does not exist."]
            ) from None
        return ProfileFile(path=path, default="", profiles={})
    except OSError as error:
        raise SettingsError([f"{path} cannot be read: {error.strerror}."]) from error
    if len(content) > CONFIG_BYTES_MAX:
        raise SettingsError([f"{path} is larger than {CONFIG_BYTES_MAX} bytes."])
    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SettingsError([f"{path} is not TOML: {error}."]) from error
    return _checked(path, table)


def resolve(asked: Asked, environ: Mapping[str, str]) -> Profile:
    """Put together what is asked, the environment and the file, in this order of precedence.

    Raises SettingsError: a sentence for each thing that is missing or wrong; InvalidInput for a
    wrong option.
    """
    file = read_profiles(environ)
    name = _chosen(file, asked, environ)
    table = file.profiles.get(name, {})
    origin = f"profile {name} of {file.path}"
    given: dict[str, list[tuple[Any, str]]] = {
        "address": [
            (asked.address, "--address"),
            (environ.get("EVENTFLOWS_ADDRESS") or None, "EVENTFLOWS_ADDRESS"),
            (table.get("address"), origin),
        ],
        "router_address": [
            (asked.router_address, "--router-address"),
            (environ.get("EVENTFLOWS_ROUTER_ADDRESS") or None, "EVENTFLOWS_ROUTER_ADDRESS"),
            (table.get("router_address"), origin),
        ],
        "key_file": [
            (asked.key_file, "--key-file"),
            (environ.get("EVENTFLOWS_KEY_FILE") or None, "EVENTFLOWS_KEY_FILE"),
            (_beside(file.path, table.get("key_file")), origin),
        ],
        "timeout_s": [
            (asked.timeout_s, "--timeout"),
            (table.get("timeout_s"), origin),
            (TIMEOUT_DEFAULT_S, "default"),
        ],
    }
    found: dict[str, tuple[Any, str]] = {
        key: next(((value, source) for value, source in sources if value is not None), (None, ""))
        for key, sources in given.items()
    }
    problems = [
        _missing(key, file.path)
        for key, (value, _) in found.items()
        if value is None and key not in _OPTIONAL
    ]
    if problems:
        raise SettingsError(problems)
    router = found["router_address"]
    return Profile(
        name=name,
        address=_address(*found["address"]),
        router_address=None if router[0] is None else _address(*router),
        key_file=Path(found["key_file"][0]).expanduser(),
        timeout_s=_timeout(*found["timeout_s"]),
        origins={key: source for key, (value, source) in found.items() if value is not None},
    )


def router_address(profile: Profile, environ: Mapping[str, str]) -> HostPort:
    """The router's. Raises SettingsError when nobody says it."""
    if profile.router_address is None:
        raise SettingsError([_missing("router_address", config_path(environ))])
    return profile.router_address


def _checked(path: Path, table: Mapping[str, Any]) -> ProfileFile:
    default, profiles = table.get("default", ""), table.get("profiles", {})
    problems = [f"{path}: {key} is not known; use default and [profiles.<name>]."
                for key in table if key not in ("default", "profiles")]  # fmt: skip
    if not isinstance(default, str):
        problems.append(f"{path}: default must be the name of a profile.")
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise SettingsError([*problems, f"{path}: profiles must be tables [profiles.<name>]."])
    for name, profile in profiles.items():
        for key, value in profile.items():
            if key not in _PROFILE_KEYS:
                known = ", ".join(_PROFILE_KEYS)
                problems.append(f"{path}: {key} of profile {name} is not known; use {known}.")
            elif key == "timeout_s" and type(value) not in (int, float):
                problems.append(f"{path}: timeout_s of profile {name} must be a number of seconds.")
            elif key != "timeout_s" and not (isinstance(value, str) and value):
                problems.append(
                    f"{path}: {key} of profile {name} must be a text that is not empty."
                )
    if problems:
        raise SettingsError(problems)
    return ProfileFile(path=path, default=default, profiles=profiles)


def _chosen(file: ProfileFile, asked: Asked, environ: Mapping[str, str]) -> str:
    """The profile's name; empty when the file has none or several and nobody chose."""
    for name, source in (
        (asked.profile, "--profile"),
        (environ.get("EVENTFLOWS_PROFILE"), "EVENTFLOWS_PROFILE"),
        (file.default, "default"),
    ):
        if not name:
            continue
        if name not in file.profiles:
            known = ", ".join(file.profiles) or "none"
            raise SettingsError(
                [f"{source} names the profile {name}, but {file.path} has: {known}."]
            )
        return name
    return next(iter(file.profiles)) if len(file.profiles) == 1 else ""


def _beside(file: Path, text: str | None) -> Path | None:
    return None if text is None else file.parent / Path(text).expanduser()


def _missing(key: str, path: Path) -> str:
    option = f"--{key.replace('_', '-')}"
    variable = f"EVENTFLOWS_{key.upper()}"
    meaning = {
        "address": "the registry's host:port",
        "router_address": "the host:port of a worker of the router",
        "key_file": "a file with the operator's service token",
    }[key]
    return (
        f"{meaning} is missing: give {option}, set {variable}, or write {key} into a profile of "
        f"{path} and choose it with --profile."
    )


def _address(value: str, source: str) -> HostPort:
    try:
        return HostPort.parse(value)
    except ValueError as error:
        raise _wrong(f"the address of {source} {error}", source) from error


def _timeout(value: float, source: str) -> float:
    if not 0 < value <= TIMEOUT_MAX_S:
        raise _wrong(
            f"the timeout of {source} must be above 0 and at most {TIMEOUT_MAX_S:g} seconds", source
        )
    return float(value)


def _wrong(sentence: str, source: str) -> InvalidInput | SettingsError:
    """A wrong option is a wrong call, a wrong variable or file a wrong profile."""
    return InvalidInput(sentence) if source.startswith("--") else SettingsError([f"{sentence}."])
