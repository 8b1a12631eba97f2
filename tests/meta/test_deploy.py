"""deploy/compose.yaml and the services' settings say the same."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from servicekit.settings import ServiceSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = {
    "migrate": "registry",
    "registry": "registry",
    "runner": "runner",
    "router": "router",
    "gateway-rest": "gateway",
    "gateway-rpc": "gateway",
}


def _compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return composed


def _settings(module: str) -> type[ServiceSettings]:
    """The settings class of a service, whatever it is called."""
    module_settings = import_module(f"{module}.settings")
    (found,) = {
        value
        for value in vars(module_settings).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value.__module__ == module_settings.__name__
    }
    return found


def _variables(module: str) -> tuple[set[str], set[str]]:
    """(all, needed) variables of a service."""
    prefix = f"EVENTFLOWS_{module.upper()}_"
    fields = _settings(module).model_fields
    every = {prefix + name.upper() for name in fields}
    needed = {prefix + name.upper() for name, field in fields.items() if field.is_required()}
    return every, needed


@pytest.mark.parametrize(("service", "module"), SERVICES.items())
def test_every_setting_in_compose_exists_and_none_that_is_needed_is_missing(
    service: str, module: str
) -> None:
    named = set(_compose()["services"][service]["environment"])
    every, needed = _variables(module)
    assert named - every == set(), "no such setting"
    assert needed - named == set(), "needed, and not set"


def test_every_service_of_ours_is_checked() -> None:
    built = {name for name, one in _compose()["services"].items() if "build" in one}
    assert built - {"secrets", "dead-letter-database"} == set(SERVICES)


def test_every_target_that_compose_builds_is_in_the_dockerfile() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    targets = {line.split(" AS ")[1] for line in text.splitlines() if " AS " in line}
    wanted = {one["build"]["target"] for one in _compose()["services"].values() if "build" in one}
    assert wanted <= targets


def test_everything_that_the_dockerfile_copies_exists() -> None:
    root = DEPLOY.parent
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (root / source).exists(), line
