"""The settings of a worker, and the README's table of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from devstack.authority import write_authority
from router.bootstrap_pumps import runner_tls
from router.settings import RouterSettings
from servicekit.settings import HostPort, SettingsError, describe_settings, load_settings

README = Path(__file__).parents[3] / "services" / "router" / "README.md"
PREFIX = "EVENTFLOWS_ROUTER_"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete environment, to be changed by the test."""
    for name in ("token", "identities"):
        (tmp_path / name).write_text("content")
    given = {
        "REGISTRY_ADDRESS": "registry:7000",
        "RUNNER_URL": "http://runner:8080",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
        "RPC_LISTEN": "127.0.0.1:7001",
        "WEB_LISTEN": "127.0.0.1:8081",
        "DATA_DIR": str(tmp_path / "data"),
        "SERVICE_TOKEN_FILE": str(tmp_path / "token"),
        "IDENTITIES_FILE": str(tmp_path / "identities"),
        "METRICS_LISTEN": "127.0.0.1:9100",
    }
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    return monkeypatch


def test_the_readme_tells_every_setting_as_the_code_has_it() -> None:
    text = README.read_text()
    for row in describe_settings(RouterSettings):
        assert f"| `{row.variable}` | {row.meaning} | {row.default} |" in text
    assert text.count(f"| `{PREFIX}") == len(describe_settings(RouterSettings))


def test_a_complete_environment_makes_settings(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(RouterSettings)
    assert settings.kafka_servers == "kafka-1:9092,kafka-2:9092"
    assert settings.group_prefix == "eventflows"
    assert settings.catalog_stale_max_s == 300.0


def test_a_worker_without_a_name_makes_one_that_no_other_has(
    environment: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(RouterSettings)
    names = {settings.worker_name() for _ in range(10)}
    assert len(names) == 10
    environment.setenv(f"{PREFIX}WORKER_ID", "router-7")
    assert load_settings(RouterSettings).worker_name() == "router-7"


@pytest.mark.parametrize(
    ("listening", "advertised", "wanted"),
    [
        ("10.0.0.1:7001", "", "10.0.0.1:7001"),
        ("10.0.0.1:7001", "router-0.svc:7001", "router-0.svc:7001"),
    ],
)
def test_other_workers_are_told_where_we_can_be_reached(
    environment: pytest.MonkeyPatch, listening: str, advertised: str, wanted: str
) -> None:
    environment.setenv(f"{PREFIX}RPC_ADVERTISE", advertised)
    address = load_settings(RouterSettings).rpc_address(HostPort.parse(listening))
    assert str(address) == wanted


def test_a_wildcard_is_never_told_to_others(environment: pytest.MonkeyPatch) -> None:
    address = load_settings(RouterSettings).rpc_address(HostPort("0.0.0.0", 7001))
    assert address.host not in {"0.0.0.0", ""}
    assert address.port == 7001


def test_a_file_that_holds_no_authority_stops_the_start_and_says_how_to_mend_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    write_authority(authority, tmp_path / "server.pem", tmp_path / "client.pem")
    assert runner_tls(load_settings(RouterSettings)) is None
    environment.setenv(PREFIX + "RUNNER_CA_FILE", str(authority))
    trusting = runner_tls(load_settings(RouterSettings))
    assert trusting is not None
    assert len(trusting.get_ca_certs()) == 1
    authority.write_text("no certificate")
    with pytest.raises(SettingsError, match="name a PEM file"):
        runner_tls(load_settings(RouterSettings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNNER_URL", "runner:8080"),
        ("RUNNER_URL", "ftp://runner"),
        ("GROUP_PREFIX", "with a space"),
        ("WORKER_ID", "a/b"),
        ("CATALOG_STALE_MAX_S", "0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("DATA_DIRECTORY", "typo"),
    ],
)
def test_a_wrong_variable_stops_the_start_and_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=PREFIX + name):
        load_settings(RouterSettings)
