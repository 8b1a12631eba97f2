"""`eventflows`: the operator's command."""

from __future__ import annotations

import typer

app = typer.Typer(name="eventflows", no_args_is_help=True, help=__doc__)


@app.callback()
def root() -> None:
    """Operate a cluster of Event Flows."""


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
