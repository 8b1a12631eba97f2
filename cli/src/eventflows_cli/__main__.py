"""`eventflows`: the operator's command. What goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

# Before gRPC is loaded: its own lines would stand between ours on stderr.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from kernel.errors import EventflowsError
from servicekit.settings import SettingsError
from typer.exceptions import Abort, TyperException

from eventflows_cli import exit_codes
from eventflows_cli.app import app
from eventflows_cli.commands import (
    at,
    dead_letters,
    diff,
    export,
    flows,
    import_,
    keygen,
    letter_tasks,
    profiles,
    relay,
    revert,
    show,
    shred,
    stat,
    tail,
    verify,
)
from eventflows_cli.output import drop_stdout, open_streams, reader_left, visible

COMMANDS = (
    flows, dead_letters, letter_tasks,
    tail, show, stat, at, diff, verify, export, import_, revert, relay, shred, keygen, profiles,
)  # fmt: skip
"""Importing a module registers its command; the help lists them in this order."""


def main() -> None:
    """Entry point of the command."""
    open_streams()
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except EventflowsError as error:
        return _failed(error.message, exit_codes.exit_code_of(error))
    except SettingsError as error:
        return _failed("\n".join(error.problems), exit_codes.CONFIGURATION)
    except TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, Abort):
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        return reader_left()
    except OSError as error:
        what = error.strerror or str(error)
        if error.filename:
            what = f"{error.filename}: {what}"
        else:  # of stdout, then
            drop_stdout()
        return _failed(what, exit_codes.INPUT_OUTPUT)
    except Exception as error:  # noqa: BLE001 (a defect must not look like a refusal, 1)
        traceback.print_exc()
        return _failed(f"this is a defect of eventflows: {error!r}", exit_codes.SOFTWARE)
    return code if isinstance(code, int) else exit_codes.DONE


def _failed(sentences: str, code: int) -> int:
    for sentence in sentences.splitlines():
        print(f"eventflows: {visible(sentence)}", file=sys.stderr)
    return code


def _usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message().replace("Value error, ", "")
    if context is not None and message == context.get_help():  # called without a command
        print(message, file=sys.stderr)
        return exit_codes.USAGE
    path = context.command_path if context is not None else "eventflows"
    return _failed(f"{message.rstrip('.')}: see `{path} --help`", exit_codes.USAGE)


if __name__ == "__main__":
    main()
