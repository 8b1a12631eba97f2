"""How the command ends: one number a class of failure, so that scripts can tell them apart.

| Code | Meaning |
| --- | --- |
| 0 | done |
| 1 | refused, not found (a file too), or found broken |
| 2 | the call itself is wrong: an option, an argument, a value |
| 69 | the registry or the router cannot be reached or did not answer in time |
| 70 | a failure inside a service, or a defect of this command (with a traceback) |
| 74 | a file that is there cannot be read or written: its rights, its disk |
| 75 | the service has too much to do: try again later |
| 77 | the key is not known or may not do this |
| 78 | the profile is wrong or incomplete |
| 130, 143 | interrupted by Ctrl-C, by SIGTERM |

From 64 on they are those of BSD's `sysexits.h`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kernel.errors import (
    AlreadyExists,
    EventflowsError,
    InvalidInput,
    NotAllowed,
    NotFound,
    Overloaded,
    StateForbids,
    TooLarge,
    Unauthenticated,
    Unavailable,
    VersionConflict,
)

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
INPUT_OUTPUT: Final = 74
TRY_LATER: Final = 75
NOT_ALLOWED: Final = 77
CONFIGURATION: Final = 78
INTERRUPTED: Final = 130
TERMINATED: Final = 143

EXIT_CODES: Final[Mapping[type[EventflowsError], int]] = MappingProxyType(
    {
        EventflowsError: SOFTWARE,
        InvalidInput: USAGE,
        Unauthenticated: NOT_ALLOWED,
        NotAllowed: NOT_ALLOWED,
        NotFound: REFUSED,
        AlreadyExists: REFUSED,
        StateForbids: REFUSED,
        VersionConflict: REFUSED,
        TooLarge: REFUSED,
        Overloaded: TRY_LATER,
        Unavailable: UNAVAILABLE,
    }
)


def exit_code_of(error: EventflowsError) -> int:
    """The code of the error's class, or of its nearest listed ancestor."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
