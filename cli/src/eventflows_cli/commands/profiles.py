"""`profile list` and `profile show`: which registry would be asked, and why that one."""

from __future__ import annotations

import os

from eventflows_cli.app import profile
from eventflows_cli.profile import read_profiles
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import results as view


@command(profile, "list")
async def list_(run: Run) -> int:
    """Show the profiles of the configuration file; * marks its default."""
    file = read_profiles(os.environ)
    document = {
        "file": str(file.path),
        "profiles": [
            {
                "name": name,
                "address": table.get("address", ""),
                "router_address": table.get("router_address", ""),
                "key_file": table.get("key_file", ""),
                "default": name == file.default,
            }
            for name, table in file.profiles.items()
        ],
    }
    run.output.show(document, view.profiles, lines=lambda given: given["profiles"])
    return DONE


@command(profile, "show")
async def show(run: Run) -> int:
    """Show what is used with these options and this environment, and where each value is from."""
    chosen = run.profile()
    document = {
        "name": chosen.name,
        "address": str(chosen.address),
        "router_address": None if chosen.router_address is None else str(chosen.router_address),
        "key_file": str(chosen.key_file),
        "timeout_s": chosen.timeout_s,
        "origins": dict(chosen.origins),
    }
    run.output.show(document, view.profile)
    return DONE
