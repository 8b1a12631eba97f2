"""Settings: read once, and every problem is a sentence that names the variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from servicekit.settings import (
    Address,
    Addresses,
    HostPort,
    Listen,
    ServiceSettings,
    SettingsError,
    describe_settings,
    load_settings,
)

README = Path(__file__).parents[3] / "libs" / "servicekit" / "README.md"


class ExampleSettings(ServiceSettings, env_prefix="EVENTFLOWS_EXAMPLE_"):
    listen: Listen = Field(description="host:port of the server")
    registry_address: Address = Field(description="host:port of the registry")
    brokers: Addresses = Field((HostPort("a", 1), HostPort("b", 2)), description="our Kafka")
    in_flight_max: int = Field(10, gt=0, description="deliveries in flight at most")
    dsn: SecretStr = Field(SecretStr("x"), description="how to reach the database")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("service_token_file", "identities_file"):
        (tmp_path / name).write_text("x")
        monkeypatch.setenv(f"EVENTFLOWS_EXAMPLE_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("EVENTFLOWS_EXAMPLE_METRICS_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("EVENTFLOWS_EXAMPLE_LISTEN", "[::1]:7000")
    monkeypatch.setenv("EVENTFLOWS_EXAMPLE_REGISTRY_ADDRESS", "registry:7001")
    return monkeypatch


def problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(ExampleSettings)
    return caught.value.problems


def test_a_complete_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTFLOWS_EXAMPLE_BROKERS", "one:9092, [::1]:9093,")
    settings = load_settings(ExampleSettings)
    assert settings.listen == HostPort("::1", 7000)
    assert settings.registry_address == HostPort("registry", 7001)
    assert settings.brokers == (HostPort("one", 9092), HostPort("::1", 9093))
    assert settings.log_level == "info"


def test_settings_cannot_be_changed(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(ExampleSettings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.in_flight_max = 11


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_or_empty_variable_is_named(
    environment: pytest.MonkeyPatch, value: str | None
) -> None:
    environment.delenv("EVENTFLOWS_EXAMPLE_LISTEN")
    if value is not None:
        environment.setenv("EVENTFLOWS_EXAMPLE_LISTEN", value)
    assert problems() == (
        "EVENTFLOWS_EXAMPLE_LISTEN is missing: set it to the host:port of the server.",
    )


def test_an_unknown_variable_stops_the_start_and_the_right_one_is_guessed(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("EVENTFLOWS_EXAMPLE_LOGLEVEL", "debug")
    assert problems() == (
        "EVENTFLOWS_EXAMPLE_LOGLEVEL is not a setting: did you mean EVENTFLOWS_EXAMPLE_LOG_LEVEL?",
    )


def test_a_variable_like_no_other_gets_the_list_of_all(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTFLOWS_EXAMPLE_COMPLETELY_DIFFERENT_THING_XYZ", "1")
    (problem,) = problems()
    assert "EVENTFLOWS_EXAMPLE_DSN" in problem
    assert "EVENTFLOWS_EXAMPLE_LISTEN" in problem


def test_variables_of_other_services_are_not_our_business(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTFLOWS_OTHER_ANYTHING", "1")
    assert load_settings(ExampleSettings)


def test_every_problem_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTFLOWS_EXAMPLE_IN_FLIGHT_MAX", "0")
    environment.setenv("EVENTFLOWS_EXAMPLE_REGISTRY_ADDRESS", "registry:0")
    environment.setenv("EVENTFLOWS_EXAMPLE_LOG_LEVEL", "loud")
    environment.setenv("EVENTFLOWS_EXAMPLE_WHAT", "1")
    assert [problem.split()[0] for problem in problems()] == [
        "EVENTFLOWS_EXAMPLE_WHAT",
        "EVENTFLOWS_EXAMPLE_LOG_LEVEL",
        "EVENTFLOWS_EXAMPLE_REGISTRY_ADDRESS",
        "EVENTFLOWS_EXAMPLE_IN_FLIGHT_MAX",
    ]


@pytest.mark.parametrize("kind", ["absent", "directory"])
def test_a_file_that_is_none_is_named_by_its_variable(
    environment: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    path = tmp_path if kind == "directory" else tmp_path / "absent"
    environment.setenv("EVENTFLOWS_EXAMPLE_IDENTITIES_FILE", str(path))
    (problem,) = problems()
    assert problem.startswith("EVENTFLOWS_EXAMPLE_IDENTITIES_FILE is wrong: it must name a file")


def test_no_problem_repeats_a_value(environment: pytest.MonkeyPatch) -> None:
    for variable in ("LISTEN", "REGISTRY_ADDRESS", "BROKERS", "IN_FLIGHT_MAX", "LOG_LEVEL", "ODD"):
        environment.setenv(f"EVENTFLOWS_EXAMPLE_{variable}", "hunter2-hunter2")
    text = "\n".join(problems())
    assert text.count("\n") == 5
    assert "hunter2" not in text


def test_a_validator_that_repeats_the_value_is_silenced(
    environment: pytest.MonkeyPatch,
) -> None:
    def refuse(value: str) -> str:
        raise ValueError(f"cannot use {value}")

    class Talkative(ExampleSettings, env_prefix="EVENTFLOWS_EXAMPLE_"):
        word: Annotated[str, AfterValidator(refuse)] = Field(description="a word")

    environment.setenv("EVENTFLOWS_EXAMPLE_WORD", "hunter2-hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings(Talkative)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_do_not_show_in_the_record(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTFLOWS_EXAMPLE_DSN", "postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(load_settings(ExampleSettings))


def test_a_field_without_a_description_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Silent\.word needs Field"):

        class Silent(ServiceSettings, env_prefix="EVENTFLOWS_SILENT_"):
            word: str


def test_settings_without_a_prefix_cannot_be_loaded() -> None:
    with pytest.raises(TypeError, match="env_prefix"):
        load_settings(ServiceSettings)


def test_the_table_of_settings_has_a_row_each() -> None:
    rows = {row.variable: row.default for row in describe_settings(ExampleSettings)}
    assert rows == {
        "EVENTFLOWS_EXAMPLE_SERVICE_TOKEN_FILE": "required",
        "EVENTFLOWS_EXAMPLE_IDENTITIES_FILE": "required",
        "EVENTFLOWS_EXAMPLE_METRICS_LISTEN": "required",
        "EVENTFLOWS_EXAMPLE_LOG_LEVEL": "info",
        "EVENTFLOWS_EXAMPLE_LISTEN": "required",
        "EVENTFLOWS_EXAMPLE_REGISTRY_ADDRESS": "required",
        "EVENTFLOWS_EXAMPLE_BROKERS": "a:1,b:2",
        "EVENTFLOWS_EXAMPLE_IN_FLIGHT_MAX": "10",
        "EVENTFLOWS_EXAMPLE_DSN": "",
    }


def test_the_readme_has_the_settings_of_every_process() -> None:
    class Bare(ServiceSettings, env_prefix="EVENTFLOWS_BARE_"):
        pass

    lines = README.read_text(encoding="utf-8").splitlines()
    for row in describe_settings(Bare):
        name = row.variable.removeprefix("EVENTFLOWS_BARE_")
        assert f"| `…{name}` | {row.meaning} | {row.default} |" in lines


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,50}", fullmatch=True), st.integers(0, 65_535))
def test_a_host_and_port_is_read_as_it_is_written(host: str, port: int) -> None:
    assert HostPort.parse(str(HostPort(host, port))) == HostPort(host, port)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        parsed = HostPort.parse(text)
    except ValueError:
        return
    assert HostPort.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:x", "host:-1", "host:65536", "::1:80", "a b:1", "[]:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        HostPort.parse(text)
