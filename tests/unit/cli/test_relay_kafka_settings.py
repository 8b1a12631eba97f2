"""The relay's settings file: read, refused with a sentence, and silent about its password."""

from __future__ import annotations

from pathlib import Path

import pytest
from eventflows_cli.relay.kafka_settings import load, without_security
from eventflows_cli.relay.topics import check_name
from kernel.errors import InvalidInput
from servicekit.settings import SettingsError


def written(folder: Path, text: str) -> Path:
    path = folder / "relay.toml"
    path.write_text(text)
    return path


def problems(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path)
    return "\n".join(caught.value.problems)


def test_without_security_the_servers_are_enough(tmp_path: Path) -> None:
    settings = load(written(tmp_path, 'bootstrap_servers = ["k1:9092", "k2:9092"]'))
    assert settings["bootstrap_servers"] == ["k1:9092", "k2:9092"]
    assert without_security("k1:9092,k2:9092")["bootstrap_servers"] == ["k1:9092", "k2:9092"]
    assert settings["security_protocol"] == "PLAINTEXT"


def test_the_password_comes_from_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "relay.password").write_text("open sesame\n")
    path = written(
        tmp_path,
        'bootstrap_servers = ["k1:9093"]\nsecurity_protocol = "SASL_SSL"\n'
        'username = "relay"\npassword_file = "relay.password"\n',
    )
    settings = load(path)
    assert settings["sasl_plain_password"] == "open sesame"
    assert settings["sasl_mechanism"] == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bootstrap_servers = [", "no TOML"),
        ("", "bootstrap_servers: Field required"),
        ("bootstrap_servers = []", "at least 1 item"),
        ('bootstrap_servers = ["k"]', "bootstrap_servers.0: must be host:port"),
        ('bootstrap_servers = ["k:99999"]', "bootstrap_servers.0: must have a port of at most"),
        ('bootstrap_servers = ["k:1"]\npassword = "secret-word"', "password: Extra inputs"),
        ('bootstrap_servers = ["k:1"]\nsecurity_protocol = "SSL"', "security_protocol"),
        (
            'bootstrap_servers = ["k:1"]\nsecurity_protocol = "SASL_SSL"',
            "username and password_file",
        ),
        ('bootstrap_servers = ["k:1"]\npassword_file = "secret-word"', "are for SASL_SSL"),
        ('bootstrap_servers = ["k:1"]\nusername = "secret-word"', "are for SASL_SSL"),
        ('bootstrap_servers = ["k:1"]\nca_file = "secret-word"', "are for SASL_SSL"),
    ],
)
def test_what_is_wrong_is_said_without_showing_values(
    tmp_path: Path, text: str, problem: str
) -> None:
    said = problems(written(tmp_path, text))
    assert problem in said
    assert "secret-word" not in said


def test_files_that_are_missing_or_no_certificates_are_named(tmp_path: Path) -> None:
    assert "relay.toml cannot be read" in problems(tmp_path / "relay.toml")
    (tmp_path / "pw").write_text("x")
    (tmp_path / "ca.pem").write_text("no certificate")
    text = (
        'bootstrap_servers = ["k:1"]\nsecurity_protocol = "SASL_SSL"\nusername = "u"\n'
        'password_file = "{pw}"\nca_file = "ca.pem"\n'
    )
    assert "pw2 cannot be read" in problems(written(tmp_path, text.format(pw="pw2")))
    assert "no certificates" in problems(written(tmp_path, text.format(pw="pw")))
    (tmp_path / "pw").write_text("\n")
    assert "password_file is empty" in problems(written(tmp_path, text.format(pw="pw")))


@pytest.mark.parametrize("servers", ["", "k1", "k1:x", "k1:0", "k1:99999", "k1:1,", "a b:1", ":1"])
def test_servers_that_nobody_could_reach_are_refused(servers: str) -> None:
    with pytest.raises(InvalidInput, match="--kafka must"):
        without_security(servers)


@pytest.mark.parametrize("name", ["", ".", "..", "a topic", "a/b", "ä", "x" * 250, "a\n"])
def test_names_that_no_kafka_takes_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="--topic must have"):
        check_name("--topic", name)
    check_name("--topic", "eventflows.log_1-a")
