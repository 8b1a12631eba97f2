"""Which registry is meant: options over environment over profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from eventflows_cli.profile import (
    TIMEOUT_DEFAULT_S,
    Asked,
    Profile,
    config_path,
    read_profiles,
    resolve,
    router_address,
)
from kernel.errors import InvalidInput
from servicekit.settings import SettingsError

TWO = """
default = "near"

[profiles.near]
address = "127.0.0.1:7000"
key_file = "near.token"
timeout_s = 5

[profiles.far]
address = "registry.example.test:7001"
key_file = "/keys/far.token"
"""

Write = Callable[[str], dict[str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a profile file; gives the environment that names it."""

    def to_file(text: str) -> dict[str, str]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return {"EVENTFLOWS_CONFIG": str(path)}

    return to_file


def shown(profile: Profile) -> tuple[str, str, str, float]:
    return profile.name, str(profile.address), str(profile.key_file), profile.timeout_s


def problem(asked: Asked, environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve(asked, environ)
    return "\n".join(caught.value.problems)


def test_the_default_profile_is_used_when_nobody_chooses(write: Write, tmp_path: Path) -> None:
    profile = resolve(Asked(), write(TWO))
    assert shown(profile) == ("near", "127.0.0.1:7000", str(tmp_path / "near.token"), 5.0)


def test_the_only_profile_needs_no_default(write: Write) -> None:
    only = '[profiles.one]\naddress = "h:1"\nkey_file = "/k"'
    assert shown(resolve(Asked(), write(only))) == ("one", "h:1", "/k", TIMEOUT_DEFAULT_S)


def test_an_option_chooses_another_profile_than_the_environment(write: Write) -> None:
    environ = write(TWO) | {"EVENTFLOWS_PROFILE": "near"}
    assert resolve(Asked(profile="far"), environ).name == "far"
    assert resolve(Asked(), environ | {"EVENTFLOWS_PROFILE": "far"}).name == "far"


def test_options_win_over_the_environment_which_wins_over_the_profile(write: Write) -> None:
    environ = write(TWO) | {"EVENTFLOWS_ADDRESS": "env:1", "EVENTFLOWS_KEY_FILE": "/env.token"}
    from_environment = resolve(Asked(), environ)
    assert shown(from_environment) == ("near", "env:1", "/env.token", 5.0)
    asked = Asked(address="opt:2", key_file=Path("/opt.token"), timeout_s=1.5)
    from_options = resolve(asked, environ)
    assert shown(from_options) == ("near", "opt:2", "/opt.token", 1.5)
    assert from_options.origins == {
        "address": "--address",
        "key_file": "--key-file",
        "timeout_s": "--timeout",
    }


def test_the_routers_address_may_be_missing_until_it_is_needed(write: Write) -> None:
    profile = resolve(Asked(), write(TWO))
    assert (profile.router_address, "router_address" in profile.origins) == (None, False)
    with pytest.raises(SettingsError) as caught:
        router_address(profile, write(TWO))
    (sentence,) = caught.value.problems
    for way in ("--router-address", "EVENTFLOWS_ROUTER_ADDRESS", "router_address", "--profile"):
        assert way in sentence


def test_the_routers_address_is_given_in_the_same_ways(write: Write) -> None:
    environ = write(TWO.replace('key_file = "near', 'router_address = "r:1"\nkey_file = "near'))
    for asked, variables, expected in (
        (Asked(), {}, "r:1"),
        (Asked(), {"EVENTFLOWS_ROUTER_ADDRESS": "env:2"}, "env:2"),
        (Asked(router_address="opt:3"), {"EVENTFLOWS_ROUTER_ADDRESS": "env:2"}, "opt:3"),
    ):
        given = environ | variables
        assert str(router_address(resolve(asked, given), given)) == expected
    with pytest.raises(InvalidInput, match="address of --router-address must be host:port"):
        resolve(Asked(router_address="here"), environ)


def test_without_a_file_the_environment_is_enough() -> None:
    environ = {
        "XDG_CONFIG_HOME": "/nowhere",
        "EVENTFLOWS_ADDRESS": "h:1",
        "EVENTFLOWS_KEY_FILE": "/k",
    }
    assert shown(resolve(Asked(), environ)) == ("", "h:1", "/k", TIMEOUT_DEFAULT_S)


def test_the_file_is_looked_for_where_the_system_keeps_such_files() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/eventflows/config.toml")
    assert config_path({}) == Path("~/.config/eventflows/config.toml").expanduser()
    assert config_path({"EVENTFLOWS_CONFIG": "/a.toml", "XDG_CONFIG_HOME": "/x"}) == Path("/a.toml")


def test_what_is_missing_is_said_with_all_ways_to_give_it() -> None:
    text = problem(Asked(), {"XDG_CONFIG_HOME": "/nowhere"})
    for way in (
        "--address",
        "EVENTFLOWS_ADDRESS",
        "--key-file",
        "EVENTFLOWS_KEY_FILE",
        "--profile",
    ):
        assert way in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("profiles = 3", "must be tables"),
        ("[profiles]\na = 1", "must be tables"),
        ("defualt = 'a'", "defualt is not known"),
        ("[profiles.a]\nadress = 'x:1'", "adress of profile a is not known"),
        ("[profiles.a]\naddress = 1", "address of profile a must be a text"),
        ("[profiles.a]\ntimeout_s = 'soon'", "must be a number"),
        ("[profiles.a]\ntimeout_s = true", "must be a number"),
        ("default = 7", "default must be the name"),
        ("default = 'b'\n[profiles.a]", "names the profile b"),
        ("[profiles.a]\naddress = 'here'\nkey_file = '/k'", "must be host:port"),
        ("[profiles.a]\naddress = 'h:1'\nkey_file = '/k'\ntimeout_s = 1e9", "at most 3600"),
        ("[profiles.a", "is not TOML"),
        ("x = '" + "x" * 70_000 + "'", "is larger than"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(write: Write, content: str, said: str) -> None:
    assert said in problem(Asked(), write(content))


def test_a_named_file_that_does_not_exist_is_no_empty_one() -> None:
    assert "does not exist" in problem(Asked(), {"EVENTFLOWS_CONFIG": "/nowhere/c.toml"})


def test_the_environment_cannot_hold_a_key(write: Write) -> None:
    """A variable with the key itself would be readable by others, so it has no meaning."""
    environ = write(TWO) | {"EVENTFLOWS_KEY": "s" * 40, "EVENTFLOWS_TOKEN": "s" * 40}
    assert "s" * 40 not in repr(resolve(Asked(), environ))


def test_the_file_may_be_empty(write: Write) -> None:
    assert read_profiles(write("")).profiles == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(timeout_s=0), "timeout of --timeout must be above 0"),
        (Asked(timeout_s=-1), "timeout of --timeout must be above 0"),
        (Asked(address="here"), "address of --address must be host:port"),
    ],
)
def test_a_wrong_option_is_a_wrong_call_and_no_wrong_profile(
    write: Write, asked: Asked, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        resolve(asked, write(TWO))


def test_an_empty_variable_is_not_given(write: Write) -> None:
    environ = write(TWO) | {"EVENTFLOWS_ADDRESS": "", "EVENTFLOWS_KEY_FILE": ""}
    assert resolve(Asked(), environ) == resolve(Asked(), write(TWO))
