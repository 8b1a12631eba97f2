"""What a gateway process is told by its environment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from servicekit.settings import Address, Addresses, Listen, ServiceSettings

from gateway.application.gateway import CATALOG_STALE_MAX_DEFAULT_S


class GatewaySettings(ServiceSettings, env_prefix="EVENTFLOWS_GATEWAY_"):
    """Settings of both processes; each listens on its own address only."""

    rest_listen: Listen = Field(description="host:port of the REST API (process `rest`)")
    rpc_listen: Listen = Field(description="host:port of the gRPC API (process `rpc`)")
    registry_address: Address = Field(description="host:port of the registry's gRPC")
    router_addresses: Addresses = Field(
        description="host:port of the gRPC of router workers, several with commas"
    )
    runner_url: str = Field(description="URL of the runner's HTTP side, http://host:port")
    runner_address: Address = Field(description="host:port of the runner's gRPC")
    public_url: str = Field(description="URL under which clients reach the REST API, for self_link")
    catalog_stale_max_s: float = Field(
        CATALOG_STALE_MAX_DEFAULT_S,
        gt=0,
        description="seconds without the registry after which all but health is refused",
    )
    catalog_snapshot_file: Path | None = Field(
        None,
        description="file where the catalog is kept, so that a restart need not wait for the "
        "registry; optional",
    )

    @field_validator("runner_url", "public_url")
    @classmethod
    def _is_http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("must have no user, query or fragment")
        return value.rstrip("/")
