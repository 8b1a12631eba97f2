"""The tree of commands. Each module of `commands` adds one."""

from __future__ import annotations

from typing import Final

import typer

_SETTINGS: Final = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(
    name="eventflows",
    help="Operate a cluster of Event Flows: its flows, its dead letters, its log, its secrets.",
    **_SETTINGS,  # type: ignore[arg-type]
)
log = typer.Typer(help="The log of events.", **_SETTINGS)  # type: ignore[arg-type]
secrets = typer.Typer(help="Secrets of connections and listeners.", **_SETTINGS)  # type: ignore[arg-type]
flow = typer.Typer(help="Event flows: what they do, pause, resume.", **_SETTINGS)  # type: ignore[arg-type]
dlq = typer.Typer(help="Dead letters: what flows gave up on.", **_SETTINGS)  # type: ignore[arg-type]
profile = typer.Typer(help="Which registry and router are meant.", **_SETTINGS)  # type: ignore[arg-type]
app.add_typer(flow, name="flow")
app.add_typer(dlq, name="dlq")
app.add_typer(log, name="log")
app.add_typer(secrets, name="secrets")
app.add_typer(profile, name="profile")
