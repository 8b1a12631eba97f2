"""The errors of the whole system: few, and each tells its caller what to do next.

    EventflowsError
    ├── InvalidInput        mend the request
    ├── Unauthenticated     send a valid key
    ├── NotAllowed          ask somebody who may
    ├── NotFound            name something that exists
    ├── AlreadyExists       choose another name
    ├── StateForbids        change the state first; the sentence says how
    ├── VersionConflict     read again, then decide again
    ├── TooLarge            send less
    ├── Overloaded          try again after `retry_after_s`
    └── Unavailable         try again later; what was asked may or may not have happened
        └── TimedOut        the same, after a limit of time

`servicekit.failures` holds the one table that maps them to gRPC and HTTP.
"""

from __future__ import annotations


class EventflowsError(Exception):
    """Root of the tree. `message` is a sentence that says what to do; it never holds a secret."""

    code: int = 5001
    """Numeric code of Algorithmia's API (`algorithmia-api.md` 3.3); ours start at 9000."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidInput(EventflowsError):
    """The request itself is wrong; sending it again cannot help."""

    code = 6001


class Unauthenticated(EventflowsError):
    """No key, or one that nobody knows."""

    code = 2002


class NotAllowed(EventflowsError):
    """The caller is known and may not do this."""

    code = 2001


class NotFound(EventflowsError):
    """What was named does not exist, or the caller may not know of it."""

    code = 9004


class AlreadyExists(EventflowsError):
    """A unique name is taken."""

    code = 9009


class StateForbids(EventflowsError):
    """The state of the aggregate does not allow the command."""

    code = 9010


class VersionConflict(EventflowsError):
    """The aggregate has moved on since the caller read it."""

    code = 9012


class TooLarge(EventflowsError):
    """A limit of size is exceeded."""

    code = 9013


class Overloaded(EventflowsError):
    """A bounded queue is full, or an account has all its sessions in use."""

    code = 9029

    def __init__(self, message: str, *, retry_after_s: float, code: int | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(EventflowsError):
    """Something that is needed cannot be reached."""

    code = 9003


class TimedOut(Unavailable):
    """A limit of time passed before the answer came."""

    code = 9014
